// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"slices"
	"time"
)

// Period is what is known of one period, or of one poll about as long, in which
// something ran.
type Period struct {
	// Index counts periods since the window began: those in which nothing ran
	// have no record.
	Index int
	// Used is the CPU time that was used in it.
	Used time.Duration
	// Throttled says that the quota was used up.
	Throttled bool
	// Stall is how long it was throttled, added over CPUs.
	Stall time.Duration
	// Held is for how long it had been throttled when the period ended, on the
	// CPU where that began first; 0 if not known.
	Held time.Duration
	// CPUs is on how many CPUs it was throttled, Runnable how many threads
	// waited there when it went on. 0 where that is not known.
	CPUs, Runnable int
}

// Records are the records of one window.
type Records struct {
	Start, End time.Time
	// QuotaCores is the limit in force; 0 without one.
	QuotaCores float64
	// Length is how long one period, or poll, is.
	Length time.Duration
	// CPUs is how many CPUs the node has, Threads how many threads the
	// container had at most; 0 where that is not known.
	CPUs, Threads int
	// Exact says that there is one record per period, from the kernel, with
	// CPUs and Runnable; otherwise they are polls of cpu.stat.
	Exact   bool
	Periods []Period
	// The window's counters as cpu.stat has them, where they are known better
	// than by adding up the records.
	NrPeriods, NrThrottled int
}

// Clone returns records that do not change when these are made anew.
func (r *Records) Clone() *Records {
	clone := *r
	clone.Periods = slices.Clone(r.Periods)
	return &clone
}

// cores returns a time as a share of a period.
func (r *Records) cores(d time.Duration) float64 { return float64(d) / float64(r.Length) }

// most is the most that the container could use: a thread per CPU.
func (r *Records) most() float64 {
	switch {
	case r.CPUs > 0 && r.Threads > 0:
		return float64(min(r.CPUs, r.Threads))
	case r.CPUs > 0:
		return float64(r.CPUs)
	case r.Threads > 0:
		return float64(r.Threads)
	}
	return 1024
}

// follows says whether record i is of the period right after the one before.
func (r *Records) follows(i int) bool {
	return i > 0 && r.Periods[i].Index == r.Periods[i-1].Index+1
}

// fresh says whether record i is of a period that owed nothing to the one
// before: its use is what was asked for.
func (r *Records) fresh(i int) bool {
	return !r.Periods[i].Throttled && !(r.follows(i) && r.Periods[i-1].Throttled)
}

// usual returns the use, in cores, that nearly all periods have which owe nothing
// to others: what comes new in any period. It is 0 where one in rare had none, or
// there are too few.
func (r *Records) usual() float64 {
	const least, rare = 20, 50
	if len(r.Periods) == 0 {
		return 0
	}
	var used []float64
	for i := range r.Periods {
		// What is right before a throttled one may be the beginning of its work.
		if r.fresh(i) && !(i+1 < len(r.Periods) && r.follows(i+1) && r.Periods[i+1].Throttled) {
			used = append(used, r.cores(r.Periods[i].Used))
		}
	}
	idle := r.Periods[len(r.Periods)-1].Index - r.Periods[0].Index + 1 - len(r.Periods)
	at := (len(used)+idle)/rare - idle
	if len(used) < least || at < 0 {
		return 0
	}
	slices.Sort(used)
	return used[at]
}

// runs calls fn with each run: throttled periods in a row, and the one that
// ends it. The bounds are from, inclusive, and to, exclusive.
func (r *Records) runs(fn func(from, to, throttled int)) {
	for i := 0; i < len(r.Periods); {
		if !r.Periods[i].Throttled {
			i++
			continue
		}
		j := i + 1
		for j < len(r.Periods) && r.Periods[j].Throttled && r.follows(j) {
			j++
		}
		throttled := j - i
		if j < len(r.Periods) && r.follows(j) {
			j++
		}
		fn(i, j, throttled)
		i = j
	}
}
