// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
	"slices"
	"time"
)

// burst is work that wanted to be done at once.
type burst struct {
	work        float64 // in periods of one CPU
	concurrency float64
	// most is the most that a period of it used and stood still for: without a
	// limit it would have used no more. 0 where that is not known.
	most float64
}

// need is the limit at which the burst is done within a period, or at once if
// it is longer than that.
func (b burst) need() float64 {
	need := min(b.work, b.concurrency)
	if b.most > 0 {
		need = min(need, b.most)
	}
	return need
}

// length is how many periods the burst takes without a limit.
func (b burst) length() float64 { return max(1, math.Ceil(b.work/b.concurrency)) }

const (
	// burnSlack is how much faster than c CPUs a quota may seem to burn without
	// there being c + 1: clocks are read a moment apart.
	burnSlack = 0.2
	// slice is what a CPU takes of the quota at once
	// (sched_cfs_bandwidth_slice_us); some of the last one is not used.
	slice = 5 * time.Millisecond
	// trusted is how many slices a CPU must have had for how fast they burnt to
	// say how many CPUs there were: else some had none.
	trusted = 1.5
)

// burning returns how many CPUs the quota of a throttled period burnt on, taken
// that all that there was to do was there from the beginning; 0 if that cannot
// be told.
func (r *Records) burning(i int) float64 {
	p := &r.Periods[i]
	if p.CPUs == 0 || p.Held == 0 || p.Used < time.Duration(trusted*float64(slice)*float64(p.CPUs)) {
		return 0
	}
	used := p.Used - slice/2*time.Duration(p.CPUs-1)
	return min(r.most(), max(1, math.Ceil(r.cores(used)/max(1-r.cores(p.Held), 1e-5)-burnSlack)))
}

// held says whether record i is of a throttled period right before or after
// another record of one.
func (r *Records) held(i, neighbour int) bool {
	return neighbour >= 0 && neighbour < len(r.Periods) && r.Periods[neighbour].Throttled && r.follows(max(i, neighbour))
}

// concurrency returns how many CPUs a throttled period wanted. What had to wait
// in the period before is there from the beginning, so that the quota's burning
// tells. Of the first period it does not, as the work may have come at any time;
// then it is as many as had threads waiting at the end, unless the next period
// shows that some of these were of no weight: a runtime's own threads wake up
// while the container is held, and wait.
func (r *Records) concurrency(i int) float64 {
	p := &r.Periods[i]
	burnt := r.burning(i)
	if burnt > 0 && r.held(i, i-1) {
		return burnt
	}
	waiting := min(r.most(), max(1, float64(p.Runnable)))
	if r.held(i, i+1) {
		if next := r.burning(i + 1); next > 0 {
			waiting = min(waiting, next)
		}
	}
	return max(burnt, waiting)
}

// idleShare is below which share of its CPUs' time a throttled period must have
// been idle at first: new work began within it.
const idleShare = 0.9

// bursts takes the runs of exact records apart where new work arrived. The
// period in between counts for both parts: which part its use belongs to cannot
// be told, so this is an upper bound.
func (r *Records) bursts() []burst {
	var found []burst
	usual, beside := r.usual(), r.beside()
	r.runs(func(from, to, _ int) {
		start, work := from, 0.0
		part := func(end int) {
			half := max(1, (end-start+1)/2)
			whole := r.partOf(start, end, beside)
			whole.work, whole.concurrency = work, r.wanted(start, start+half, beside)
			found = append(found, r.fallen(start, end, whole, beside)...)
		}
		for i := from; i < to; i++ {
			used := r.cores(r.Periods[i].Used)
			if i > from && r.arrived(i) {
				work += used
				part(i)
				start, work = i, 0
			}
			if i == to-1 && !r.Periods[i].Throttled {
				used = max(0, used-usual)
			}
			work += used
		}
		part(to)
	})
	return found
}

// beside returns the use, in cores, of a thread that waits in a burst beside those
// that the quota burns on: what little is used without a burst too, and at least
// what its CPU takes of the quota at once.
func (r *Records) beside() float64 {
	const little = 0.25 // of the periods use less
	var used []float64
	for i := range r.Periods {
		if r.fresh(i) {
			used = append(used, r.cores(r.Periods[i].Used))
		}
	}
	slices.Sort(used)
	return max(r.cores(slice), quantile(used, little))
}

// fallen takes a burst apart where fewer CPUs are wanted from then on, for longer
// than a period: what starts on four threads and goes on with two for seconds wants
// four CPUs for as long as it had them. Where that was less than a period, the
// others had the rest of it.
func (r *Records) fallen(start, end int, whole burst, beside float64) []burst {
	const step = 0.75 // CPUs that it must fall by
	for cut := start + 1; cut < end; cut++ {
		before, after := r.partOf(start, cut, beside), r.partOf(cut, end, beside)
		// Of the last period only a part may be the burst's.
		after.work = whole.work - before.work
		rest := max(0, 1-before.work/before.concurrency) // of a period
		if after.work < (1+rest)*after.concurrency || r.highest(cut, end)+step > r.lowest(start, cut) {
			continue
		}
		before.work += rest * after.concurrency
		after.work -= rest * after.concurrency
		return []burst{before, after}
	}
	return []burst{whole}
}

// partOf returns the burst that periods are.
func (r *Records) partOf(from, to int, beside float64) burst {
	b := burst{concurrency: r.wanted(from, to, beside)}
	for i := from; i < to; i++ {
		p := &r.Periods[i]
		b.work += r.cores(p.Used)
		b.most = max(b.most, r.cores(p.Used+p.Stall))
	}
	return b
}

// wanted returns how many CPUs periods wanted in the mean, and what threads beside
// these need.
func (r *Records) wanted(from, to int, beside float64) float64 {
	sum, more := 0.0, 0.0
	for i := from; i < to; i++ {
		c := r.concurrency(i)
		sum += c
		more = max(more, float64(r.Periods[i].Runnable)-c)
	}
	return min(r.most(), sum/float64(to-from)+more*beside)
}

// highest and lowest are of the concurrency of periods that were throttled.
func (r *Records) highest(from, to int) float64 {
	most := 0.0
	for i := from; i < to; i++ {
		if r.Periods[i].Throttled {
			most = max(most, r.concurrency(i))
		}
	}
	return most
}

func (r *Records) lowest(from, to int) float64 {
	least := math.Inf(1)
	for i := from; i < to; i++ {
		if r.Periods[i].Throttled {
			least = min(least, r.concurrency(i))
		}
	}
	return least
}

// arrived says whether new work began in throttled period i of a run.
func (r *Records) arrived(i int) bool {
	p := &r.Periods[i]
	if !p.Throttled || p.CPUs == 0 {
		return false
	}
	busy := r.cores(p.Used) + r.cores(p.Stall)
	return r.concurrency(i) > r.concurrency(i-1) || busy < idleShare*float64(p.CPUs)
}
