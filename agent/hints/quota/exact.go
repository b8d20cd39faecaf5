// SPDX-License-Identifier: Apache-2.0

package quota

import "math"

// burst is work that wanted to be done at once.
type burst struct {
	work        float64 // in periods of one CPU
	concurrency float64
}

// need is the limit at which the burst is done within a period, or at once if
// it is longer than that.
func (b burst) need() float64 { return min(b.work, b.concurrency) }

// length is how many periods the burst takes without a limit.
func (b burst) length() float64 { return max(1, math.Ceil(b.work/b.concurrency)) }

// burnSlack is how much faster than c CPUs a quota may seem to burn without
// there being c + 1: clocks are read a moment apart.
const burnSlack = 0.15

// concurrency returns how many CPUs a throttled period wanted: as many as had
// threads waiting, or as its quota's burning took.
func (r *Records) concurrency(i int) float64 {
	p := &r.Periods[i]
	c := float64(p.Runnable)
	if p.CPUs > 0 {
		running := 1 - r.cores(p.Stall)/float64(p.CPUs) // of the period
		c = max(c, math.Ceil(r.cores(p.Used)/max(running, 1e-5)-burnSlack))
	}
	return min(r.most(), max(1, c))
}

// idleShare is below which share of its CPUs' time a throttled period must have
// been idle at first: new work began within it.
const idleShare = 0.9

// bursts takes the runs of exact records apart where new work arrived. The
// period in between counts for both parts: which part its use belongs to cannot
// be told, so this is an upper bound.
func (r *Records) bursts() []burst {
	var found []burst
	r.runs(func(from, to, _ int) {
		start, work := from, 0.0
		part := func(end int) {
			half := max(1, (end-start+1)/2)
			sum := 0.0
			for i := start; i < start+half; i++ {
				sum += r.concurrency(i)
			}
			found = append(found, burst{work: work, concurrency: sum / float64(half)})
		}
		for i := from; i < to; i++ {
			used := r.cores(r.Periods[i].Used)
			if i > from && r.arrived(i) {
				work += used
				part(i)
				start, work = i, 0
			}
			work += used
		}
		part(to)
	})
	return found
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
