// SPDX-License-Identifier: Apache-2.0

package quota

import "slices"

const (
	// barely is a use, in cores, that does not begin a burst.
	barely = 0.002
	// rise is by how much the concurrency must rise from poll to poll to say
	// that new work arrived.
	rise = 0.25
	// fall is by how much it must fall, and stay there, to say that some of the
	// work is done and others go on.
	fall = 0.75
	// steady is how many polls say what the concurrency of long work was.
	steady = 4
)

// polled is what polls alone tell.
type polled struct {
	asked         []float64 // in each period, in cores
	bursts        []burst
	runs, longest int
	lengths       []int // of the runs
	// endless says that the longest run was still going on at the end.
	endless bool
	// busy is how many CPUs the throttled polls wanted in the mean: a poll that
	// comes late makes two of them look wrong, but not their sum.
	busy float64
	// most is how many they wanted at most, for the same reason in two of them.
	most float64
}

// queues says whether queues of work seem to merge now and then: some runs are
// much longer than most.
func (p *polled) queues() bool {
	slices.Sort(p.lengths)
	return p.longest >= 4 && p.longest >= 2*p.lengths[len(p.lengths)/2]
}

// spread takes runs of throttled polls apart where new work arrived, and lays
// each part's work out from its beginning at the concurrency that it had.
func (r *Records) spread() polled {
	p := polled{asked: make([]float64, len(r.Periods))}
	for i := range r.Periods {
		p.asked[i] = r.cores(r.Periods[i].Used)
	}
	p.busy = r.busy()
	p.most = r.mostPolled()
	usual, early := r.usual(), r.early()
	for i := 0; i < len(r.Periods); {
		if !r.Periods[i].Throttled {
			i++
			continue
		}
		from := i
		// What is used before it began it, or is the tail of the run before.
		others := early && i > 1 && r.follows(i-1) && r.Periods[i-2].Throttled
		if r.follows(i) && r.cores(r.Periods[i-1].Used) > barely && !others {
			from--
		}
		to := i + 1
		for to < len(r.Periods) && r.Periods[to].Throttled && r.follows(to) {
			to++
		}
		p.runs++
		p.lengths = append(p.lengths, to-i)
		if to-i >= p.longest {
			p.longest, p.endless = to-i, to == len(r.Periods)
		}
		tail := r.tail(to, usual, early)
		if tail > 0 {
			p.asked[to] -= tail
		}
		r.spreadRun(&p, from, to, usual, tail)
		i = to
	}
	return p
}

// mostPolled returns how many CPUs two throttled polls in a row wanted at most,
// but for the twentieth of them in which polls came late. Where there are few,
// only the machine says.
func (r *Records) mostPolled() float64 {
	const few = 10
	var all []float64
	for i := range r.Periods {
		if i > 0 && r.follows(i) && r.Periods[i].Throttled && r.Periods[i-1].Throttled {
			all = append(all, (r.pollConcurrency(i)+r.pollConcurrency(i-1))/2)
		}
	}
	if len(all) < few {
		return r.most()
	}
	slices.Sort(all)
	return max(1, quantile(all, 0.95))
}

func (r *Records) busy() float64 {
	sum, n := 0.0, 0
	for i := range r.Periods {
		if p := &r.Periods[i]; p.Throttled {
			sum += r.cores(p.Used) + r.cores(p.Stall)
			n++
		}
	}
	// Where two periods fell into one poll, the next one saw nothing and has no
	// record.
	if span := len(r.Periods); span > 0 {
		n = max(n, min(r.NrThrottled, r.Periods[span-1].Index-r.Periods[0].Index+1))
	}
	return sum / float64(max(1, n))
}

// pollConcurrency returns how many CPUs were wanted in a poll: those that ran
// and those that stood still. A stall is booked when it ends, a poll later.
func (r *Records) pollConcurrency(i int) float64 {
	stall := r.Periods[i].Stall
	if i+1 < len(r.Periods) && r.Periods[i+1].Throttled && r.follows(i+1) {
		stall = r.Periods[i+1].Stall
	}
	return min(r.most(), r.cores(r.Periods[i].Used)+r.cores(stall))
}

// wantedAt returns how many CPUs the work wanted that began in a poll. The poll
// that it began in has only a part of that.
func (r *Records) wantedAt(start, to int) float64 {
	c := 1.0
	for i := start; i < min(start+2, to); i++ {
		c = max(c, r.pollConcurrency(i))
	}
	return c
}

// wanted returns how many CPUs the part of a run from start to end wanted. A poll
// that comes late has what the next one lacks, so that more than one is asked
// where there are more.
func (p *polled) wanted(r *Records, start, end, to int) float64 {
	c := 0.0
	if half := (end - start) / 2; half >= steady {
		for i := start; i < start+half; i++ {
			c += r.pollConcurrency(i) / float64(half)
		}
		return max(1, c)
	}
	if end-start <= 2 {
		return min(r.wantedAt(start, to), p.most)
	}
	for i := start + 1; i < start+3; i++ {
		c = max(c, (r.pollConcurrency(i-1)+r.pollConcurrency(i))/2)
	}
	return max(1, c)
}

// early says whether polls come soon after the beginning of a period. Then the
// first throttled poll of a run has nearly nothing of the period after the first,
// whose quota is all that was used.
func (r *Records) early() bool {
	const few = 3
	var later []float64 // what was used of the period after, by the quota
	r.runs(func(from, _, throttled int) {
		alone := !r.follows(from) || r.cores(r.Periods[from-1].Used) <= barely
		if alone && throttled > 1 {
			later = append(later, r.cores(r.Periods[from].Used)/r.QuotaCores-1)
		}
	})
	slices.Sort(later)
	return len(later) >= few && quantile(later, 0.5) < 0.5
}

// goesOn says whether the work of throttled poll i may not have been done at its
// end: then it was busy, running or held, all the time.
func (r *Records) goesOn(i int) bool {
	const busy = 0.97
	p := &r.Periods[i]
	return p.Throttled && r.cores(p.Used)+r.cores(p.Stall) >= busy
}

// tail returns what of the use of poll to, the first after a run, is still the
// run's work. A period counts as throttled when it ends, and the rest of the work
// is done in the next one: in the same poll, unless that came right after the end.
func (r *Records) tail(to int, usual float64, early bool) float64 {
	if to >= len(r.Periods) || !r.follows(to) {
		return 0
	}
	if begins := to+1 < len(r.Periods) && r.follows(to+1) && r.Periods[to+1].Throttled; !early && (begins || !r.goesOn(to-1)) {
		return 0
	}
	return min(max(0, r.cores(r.Periods[to].Used)-usual), r.QuotaCores)
}

// spreadRun does so with one run. What comes new in any poll, the usual, stays in
// its own where the run is short; a long one has held it up.
func (r *Records) spreadRun(p *polled, from, to int, usual, tail float64) {
	start, work := from, 0.0
	fill := make([]float64, to-from)
	lay := func(end int) {
		c := p.wanted(r, start, end, to)
		p.bursts = append(p.bursts, burst{work: work, concurrency: c})
		most := 0.0 // without a limit none of its polls would have used more
		for i := start; i < min(end+1, to); i++ {
			most = max(most, r.pollConcurrency(i))
		}
		c = min(c, most)
		for i := start - from; i < len(fill) && work > 0; i++ {
			if room := min(work, c-fill[i]); room > 0 {
				fill[i] += room
				work -= room
			}
		}
		start, work = end, 0
	}
	rose := func(i int) bool {
		c := func(i int) float64 {
			if i <= from && !r.Periods[from].Throttled {
				return r.wantedAt(from, to)
			}
			return r.pollConcurrency(min(max(i, from), to-1))
		}
		return c(i)+c(i+1) > c(i-1)+c(i-2)+2*rise
	}
	for i := from; i < to; i++ {
		used, c := r.cores(r.Periods[i].Used), r.pollConcurrency(i)
		if i > from && to-from == 2 {
			fill[i-from] = min(used, usual)
			used -= fill[i-from]
		}
		switch {
		case i > from && (rose(i) || c < idleShare && r.Periods[i].Throttled):
			work += used // which part it belongs to cannot be told: to both
			lay(i)
		case i > start+1 && i+1 < to && max(c, r.pollConcurrency(i+1)) < r.wantedAt(start, to)-fall:
			lay(i)
		}
		work += used
	}
	work += tail
	lay(to)
	copy(p.asked[from:to], fill)
}

// replay returns the smallest limit, in cores, under which at most target of
// the periods would be throttled, had they asked for this.
func (r *Records) replay(asked []float64, target float64) float64 {
	low, high := 0.001, r.most()*1.02
	if r.throttledShare(asked, high) > target {
		return high
	}
	for high/low > 1.005 {
		middle := (low + high) / 2
		if r.throttledShare(asked, middle) <= target {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// throttledShare plays the periods through a limit: what does not fit waits for
// the next period.
func (r *Records) throttledShare(asked []float64, limit float64) float64 {
	left := 0.0
	counted, throttled := 0, 0
	ran := false // in the period before: the kernel counts one more after it
	for i := range asked {
		if !r.follows(i) {
			if ran {
				counted++
			}
			left, ran = 0, false // idle in between: long enough to make up
		}
		left += asked[i]
		if left > 0 || ran {
			counted++
		}
		ran = left > 0
		if left > limit+1e-5 {
			throttled++
			left -= limit
		} else {
			left = 0
		}
	}
	if counted == 0 {
		return 0
	}
	return float64(throttled) / float64(counted)
}
