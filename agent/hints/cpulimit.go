// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// limitRatio is the least ratio of CPU limit to request under the burstable
// policy: what starts needs more than what runs.
const limitRatio = 2

// urgentStep is by how much a window must ask for more than the published limit to
// replace it at once: two windows of the same load differ by a little.
const urgentStep = 1.1

// takenWithin is how long after its end a window may be taken in, with sweeps as
// far apart as they may be: what was published meanwhile did not know it.
const takenWithin = 2 * time.Minute

// How sure a CPU limit is, by what it was made of.
const (
	sureExact     = 0.9
	surePolled    = 0.75
	sureSaturated = 0.15
	sureSamples   = 0.4
)

// cpuLimit computes the CPU limit: the smallest that keeps throttled periods and
// slowdown under 1 %, as the windows of per-period records say.
func (a *advice) cpuLimit() {
	if a.idle {
		return // a window of an earlier time is no better than its samples
	}
	t := a.series.Throttling(a.at)
	window := t.Decisive
	hot := window.Periods > 0 && window.QuotaCores > 0 && window.OverTarget()
	if hot {
		a.sayThrottled(window, t.FloorCores)
	}
	if a.policy == NoCPULimit || !a.now.CPURequestCores.Known && window.Periods == 0 {
		return
	}
	switch {
	case window.Periods == 0:
		a.cpuConfidence = min(a.cpuConfidence, sureSamples)
	case hot:
		a.cpuConfidence = confidenceOf(window)
	default:
		a.sayUnthrottled(window, t)
		a.cpuConfidence = min(a.cpuConfidence, confidenceOf(window))
	}
	behind := max(window.NeedCores, t.FloorCores)
	need := a.leastLimit(behind)
	a.now.CPULimitCores = history.Known(need)
	if a.policy == Guaranteed {
		a.now.CPURequestCores = a.now.CPULimitCores
	}
	// What is behind a limit that clips can only be guessed at.
	a.now.Provisional = hot && need == behind
	a.urgentLimit = hot && !window.Harmless() && min(need, a.mostCores()) > urgentStep*a.published.CPULimitCores.V && window.End.Add(takenWithin).After(a.published.CPUChanged)
}

// leastLimit raises the limit to what samples and the policy ask for at least,
// and tells of the one that decides.
func (a *advice) leastLimit(need float64) float64 {
	ratio := 0.0
	if request := a.now.CPURequestCores; a.policy == Burstable && request.Known {
		ratio = limitRatio * request.V
	}
	switch highest := a.peaks.HighestCores; {
	case ratio > need && ratio >= highest:
		a.say(snapshot.ReasonCPULimitRatio, snapshot.ResourceCPU,
			fmt.Sprintf("The limit is at least %d x the request: %s.", limitRatio, cores(ratio)))
		return ratio
	case highest > need:
		a.say(snapshot.ReasonCPUPeak, snapshot.ResourceCPU,
			fmt.Sprintf("The highest use of any one sample of the last 14 days was %s, as at a start: the limit is not below it.", cores(highest)),
			evidence("highest_cores", highest))
		return highest
	}
	return need
}

func confidenceOf(w history.Window) float64 {
	switch {
	case w.Saturated:
		return sureSaturated
	case w.Exact:
		return sureExact
	}
	return surePolled
}

// sayThrottled tells of a limit that is too low, and of what is behind it.
func (a *advice) sayThrottled(w history.Window, floor float64) {
	a.suffers = a.suffers || !w.Harmless() && isSet(a.facts.CPULimitCores) && a.facts.CPULimitCores.V <= w.QuotaCores
	share := float64(w.Throttled) / float64(w.Periods)
	numbers := []snapshot.Evidence{
		evidence("throttled_ratio", share), evidence("slowdown_ratio", w.Slowdown),
		evidence("limit_cores", w.QuotaCores), evidence("need_cores", w.NeedCores), evidence("floor_cores", floor),
	}
	seen := fmt.Sprintf("In the %s to %s the limit of %s throttled %d of %d periods (%s), which slowed its work by %s",
		duration(w.End.Sub(w.Start)), clock(w.End), cores(w.QuotaCores), w.Throttled, w.Periods, percent(share), percent(w.Slowdown))
	if w.Saturated {
		a.say(snapshot.ReasonCPUSaturated, snapshot.ResourceCPU,
			fmt.Sprintf("%s, without a pause: how much it wants cannot be seen behind the limit, only that it is more than %s and at most what its threads and the node's CPUs could use, with %s %s%s. Look again a minute after the change: the next window tells.",
				seen, cores(w.QuotaCores), margin(w), cores(w.NeedCores), tooLow(w, floor)), numbers...)
	} else {
		a.say(snapshot.ReasonCPUThrottled, snapshot.ResourceCPU,
			fmt.Sprintf("%s; at most 1%% of each is the target. %s%s.", seen, wanted(w), tooLow(w, floor)), numbers...)
	}
	a.burstAdvice(w)
	a.threadAdvice(w)
}

// sayUnthrottled tells of what the windows without throttling needed.
func (a *advice) sayUnthrottled(w history.Window, t history.Throttling) {
	with := "5% of margin included"
	if w.NeedCores == w.QuotaCores {
		with = "the limit then"
	}
	a.say(snapshot.ReasonCPUUnthrottled, snapshot.ResourceCPU,
		fmt.Sprintf("In the %s to %s, the highest of %d windows of 100 ms periods, 99%% of the periods needed at most %s, %s%s.",
			duration(w.End.Sub(w.Start)), clock(w.End), t.Windows, cores(w.NeedCores), with, tooLow(w, t.FloorCores)),
		evidence("need_cores", w.NeedCores), evidence("floor_cores", t.FloorCores))
}

// tooLow tells of a limit that was seen to be too low, where it is above what the
// window asks for: then it decides.
func tooLow(w history.Window, floor float64) string {
	if floor <= w.NeedCores {
		return ""
	}
	return fmt.Sprintf("; a limit of %s was too low before", cores(floor))
}

// clock spells a time of day, in UTC so that it is the same everywhere.
func clock(at time.Time) string { return at.UTC().Format("15:04 UTC on Jan 2") }
