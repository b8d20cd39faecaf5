// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
	"slices"

	"github.com/slicewatch/slicewatch/agent/history"
)

// The margins on what was found, which is least sure from polls.
const (
	exactMargin = 1.05
	pollMargin  = 1.10
	// busyThread is what one thread that is always busy needs: its runtime's
	// other threads come on top now and then, and slices of the quota stay on the
	// CPUs that it ran on before.
	busyThread = 1.2
	// several is the mean concurrency from which it is not one thread's.
	several = 1.05
)

// Window reduces records to what they say about the limit. It returns a window
// without periods if there are no usable records.
func (r *Records) Window() history.Window {
	w := history.Window{
		Start: r.Start, End: r.End, QuotaCores: r.QuotaCores, Threads: r.Threads, Exact: r.Exact,
	}
	if r.Length <= 0 || len(r.Periods) == 0 || !r.End.After(r.Start) {
		return w
	}
	var used, stall float64
	for i := range r.Periods {
		used += r.cores(r.Periods[i].Used)
		stall += r.cores(r.Periods[i].Stall)
		if r.Periods[i].Throttled {
			w.Throttled++
		}
	}
	w.Periods = len(r.Periods)
	if r.NrPeriods > 0 {
		w.Periods, w.Throttled = r.NrPeriods, r.NrThrottled
	}
	w.UsedCores = used * float64(r.Length) / float64(r.End.Sub(r.Start))
	if used+stall > 0 {
		w.Slowdown = stall / (used + stall)
	}
	switch {
	case r.QuotaCores <= 0 || !w.OverTarget():
		r.unthrottled(&w)
	case w.Harmless():
		// Next to nothing waited: what is behind the limit is little, and less
		// than what is not known exactly here.
		w.Concurrency = 1
		r.settle(&w, need{})
	default:
		r.throttled(&w)
	}
	return w
}

// unthrottled finds the limit from use that a limit hardly clipped.
func (r *Records) unthrottled(w *history.Window) {
	asked := make([]float64, len(r.Periods))
	for i := range asked {
		asked[i] = r.cores(r.Periods[i].Used)
	}
	need := r.replay(asked, history.ThrottleTarget)
	slices.Sort(asked)
	w.NeedCores = max(need, quantile(asked, 1-history.ThrottleTarget)) * exactMargin
	if r.QuotaCores > 0 {
		w.NeedCores = min(w.NeedCores, r.QuotaCores) // it was enough
	}
}

// throttled finds the limit behind a limit that clips.
func (r *Records) throttled(w *history.Window) {
	polls := r.spread()
	saturated := polls.endless && float64(polls.longest) > 0.5*float64(len(r.Periods)) || float64(w.Throttled) > 0.95*float64(w.Periods)
	bursts, margin := polls.bursts, pollMargin
	found := r.polledNeed(&polls).with(pollMargin)
	if r.Exact {
		bursts, margin = r.bursts(), exactMargin
	}
	w.Concurrency = meanConcurrency(bursts)
	// Queues of several threads merge, which makes bursts look larger than what
	// arrived at once: of pools, what the replay finds is the upper bound.
	pool := w.Concurrency > several && polls.queues() && !saturated
	if r.Exact {
		exact := need{basis: history.BasisPeriods, cores: r.exactNeed(bursts)}.with(exactMargin)
		if !pool || exact.margined < found.margined {
			found = exact
		}
	}
	if !pool {
		found = found.atLeast(need{basis: history.BasisSlowdown, cores: r.slowdownNeed(bursts)}.with(margin))
	}
	at := w.Concurrency
	if !r.Exact {
		// A runtime's own thread that wakes up while the container is held stands
		// still for the rest of the period, which looks like a part of a CPU more.
		at = math.Floor(polls.busy + burnSlack)
	}
	if one := w.Concurrency < 1.5; one {
		found = found.atLeast(need{basis: history.BasisTurns, cores: r.cycleNeed(w)}.with(margin))
		saturated = saturated && (polls.busy >= idleShare || at > history.LeastRaise)
	}
	switch {
	case saturated && at <= history.LeastRaise:
		// One thread that is always busy: what it wants is known.
		w.Concurrency = min(w.Concurrency, max(1, at))
		found = need{basis: history.BasisBusy, cores: max(busyThread, at)}.with(margin)
	case saturated:
		// The queue never emptied: what is behind it cannot be seen, only what
		// the CPUs and threads could take.
		w.Saturated = true
		found = need{basis: history.BasisMost, cores: r.most()}.with(exactMargin)
	}
	r.settle(w, found)
	w.BurstSeconds = r.burst(w)
}

// need is a limit in cores, with its margin and without, and what it was made of.
type need struct {
	basis           history.Basis
	cores, margined float64
}

func (n need) with(margin float64) need {
	n.margined = n.cores * margin
	return n
}

func (n need) atLeast(o need) need {
	if o.margined > n.margined {
		return o
	}
	return n
}

// settle takes what was found for the window's need, within its bounds: a raise
// that is worth a change, and all that can be used.
func (r *Records) settle(w *history.Window, found need) {
	found = found.atLeast(need{basis: history.BasisRaise, cores: r.QuotaCores}.with(history.LeastRaise))
	if most := (need{basis: history.BasisMost, cores: r.most()}.with(exactMargin)); found.margined > most.margined {
		found = most
	}
	w.NeedCores, w.Basis, w.BasisCores = found.margined, found.basis, found.cores
}

// cycleNeed returns what one thread needs that runs and rests in turn, for less
// than a period each, by its use of the time in which it was not held. A limit
// far below stretches each turn over periods, which look like any work then.
func (r *Records) cycleNeed(w *history.Window) float64 {
	const light = 0.25 // in cores
	stalled := 0.0
	for i := range r.Periods {
		stalled += r.cores(r.Periods[i].Stall)
	}
	free := 1 - stalled*float64(r.Length)/float64(r.End.Sub(r.Start))
	if rate := w.UsedCores / free; free > 0 && rate < light {
		return history.TurnFactor * rate
	}
	return 0
}

func meanConcurrency(bursts []burst) float64 {
	sum, weight := 0.0, 0.0
	for _, b := range bursts {
		sum += b.concurrency * b.length()
		weight += b.length()
	}
	if weight == 0 {
		return 0
	}
	return sum / weight
}

// exactNeed returns the 99th percentile of need over the periods.
func (r *Records) exactNeed(bursts []burst) float64 {
	type item struct{ need, weight float64 }
	var items []item
	total := 0.0
	add := func(need, weight float64) {
		items = append(items, item{need, weight})
		total += weight
	}
	for _, b := range bursts {
		add(b.need(), b.length())
	}
	for i := range r.Periods {
		if r.fresh(i) {
			add(r.cores(r.Periods[i].Used), 1)
		}
	}
	// The kernel counts a few periods after each work in which nothing ran, and
	// so it will under another limit.
	total += max(0, float64(r.NrPeriods-len(r.Periods)))
	slices.SortFunc(items, func(a, b item) int {
		switch {
		case a.need > b.need:
			return -1
		case a.need < b.need:
			return 1
		}
		return 0
	})
	above := 0.0
	for _, it := range items {
		if above += it.weight; above > history.ThrottleTarget*total {
			return min(it.need, r.most())
		}
	}
	return 0
}

// slowdownNeed returns the limit under which the bursts would wait for at most
// 1 % of the time that all work takes. The share of throttled periods hides a
// long pause now and then beside light work that keeps periods counted. What
// the bursts would wait under the present limit is held against what they did,
// because it is easily overstated.
func (r *Records) slowdownNeed(bursts []burst) float64 {
	used, stalled := 0.0, 0.0
	for i := range r.Periods {
		used += r.cores(r.Periods[i].Used)
		stalled += r.cores(r.Periods[i].Stall)
	}
	stall := func(limit float64) float64 {
		sum := 0.0
		for _, b := range bursts {
			if over := b.work - limit; over > 0 && b.concurrency > limit {
				sum += over * (b.concurrency - limit) / limit
			}
		}
		return sum
	}
	now := stall(r.QuotaCores)
	if used <= 0 || now <= 0 {
		return 0
	}
	scale := min(1, stalled/now)
	low, high := r.QuotaCores, r.most()
	for high/low > 1.005 {
		middle := (low + high) / 2
		if s := scale * stall(middle); s/(s+used) <= history.ThrottleTarget {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// polledNeed returns the limit found by replaying what was asked for. Where
// queues merge into long runs that overstates it; then the way in which the
// periods that were not throttled are distributed tells how far its tail
// reaches.
func (r *Records) polledNeed(polls *polled) need {
	runs, longest := polls.runs, polls.longest
	found := r.replay(polls.asked, history.ThrottleTarget)
	var fresh []float64
	for i := range r.Periods {
		if r.fresh(i) {
			fresh = append(fresh, r.cores(r.Periods[i].Used))
		}
	}
	begins := float64(runs) / float64(max(1, len(fresh)+runs)) // the share of fresh periods that begin a run
	if longest < 5 || longest >= len(r.Periods)/2 || begins <= 0.02 || begins >= 0.4 || runs < 10 || len(fresh) <= 20 {
		return need{basis: history.BasisPeriods, cores: found}
	}
	slices.Sort(fresh)
	slope := max(0, r.QuotaCores-quantile(fresh, 0.5)) / math.Log(0.5/begins)
	tail := r.QuotaCores + slope*math.Log(max(1, begins/history.ThrottleTarget))
	if tail >= found {
		return need{basis: history.BasisPeriods, cores: found}
	}
	return need{basis: history.BasisTail, cores: math.Sqrt(found * tail)}
}

// burst returns the allowance that would cure the throttling under the same
// quota, in seconds: the bursts must fit a period, the allowance the quota, and
// mean use must leave time to save it up.
func (r *Records) burst(w *history.Window) float64 {
	const calm = 0.6 // of the quota
	extra := w.NeedCores - r.QuotaCores
	fits := w.NeedCores < w.Concurrency*exactMargin && extra <= r.QuotaCores
	if w.Saturated || !fits || w.UsedCores > calm*r.QuotaCores {
		return 0
	}
	return extra * r.Length.Seconds()
}

// quantile returns the value of sorted that a share q of them does not exceed.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
