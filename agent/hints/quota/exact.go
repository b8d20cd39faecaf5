// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
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
	usual := r.usual()
	r.runs(func(from, to, _ int) {
		start, work := from, 0.0
		part := func(end int) {
			half := max(1, (end-start+1)/2)
			sum, most := 0.0, 0.0
			for i := start; i < end; i++ {
				most = max(most, r.cores(r.Periods[i].Used+r.Periods[i].Stall))
			}
			for i := start; i < start+half; i++ {
				sum += r.concurrency(i)
			}
			whole := burst{work: work, concurrency: sum / float64(half), most: most}
			found = append(found, r.fallen(start, end, whole)...)
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

// fallen takes a burst apart where fewer CPUs are wanted from then on, if both parts
// are longer than a period: what starts on four threads and goes on with two for
// seconds wants four CPUs for as long as it had them.
func (r *Records) fallen(start, end int, whole burst) []burst {
	const step = 0.75 // CPUs that it must fall by
	for cut := start + 1; cut < end; cut++ {
		before, after := r.partOf(start, cut), r.partOf(cut, end)
		// Of the last period only a part may be the burst's.
		after.work = whole.work - before.work
		long := before.work >= before.concurrency && after.work >= after.concurrency
		if long && r.highest(cut, end)+step <= r.lowest(start, cut) {
			return []burst{before, after}
		}
	}
	return []burst{whole}
}

// partOf returns the burst that periods are.
func (r *Records) partOf(from, to int) burst {
	var b burst
	for i := from; i < to; i++ {
		p := &r.Periods[i]
		b.work += r.cores(p.Used)
		b.concurrency += r.concurrency(i) / float64(to-from)
		b.most = max(b.most, r.cores(p.Used+p.Stall))
	}
	return b
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
