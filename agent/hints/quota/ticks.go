// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
	"time"
)

// Tick is the end of one period of the quota, as the kernel sees it: what is left
// of the quota before it is filled up, and who is held.
type Tick struct {
	At time.Duration // by any clock that only goes on
	// Length, Quota and Burst are those in force, Left what no CPU was given.
	Length, Quota, Burst, Left time.Duration
	// Stall is the sum of what was throttled since the cgroup was made, without
	// what ends with this period.
	Stall time.Duration
	// Held says that it was held when the period ended, CPUs on how many CPUs
	// something waited then, Waiting how many threads did, and Later by how much
	// later than on the first of these CPUs that began on the others, added.
	Held          bool
	CPUs, Waiting int
	Later         time.Duration
	// Count counts periods before this one: several end with a tick that is late.
	Count uint32
}

// Ticks turns ticks of one cgroup into records. It is for one window.
type Ticks struct {
	ticks []Tick
	over  bool // there were too many
}

// Begin starts a window. It reuses the memory of the window before.
func (k *Ticks) Begin() { *k = Ticks{ticks: k.ticks[:0]} }

// Add takes a tick in.
func (k *Ticks) Add(t Tick) {
	if len(k.ticks) >= maxPolls {
		k.over = true
		return
	}
	k.ticks = append(k.ticks, t)
}

// seen is the share of the periods that cpu.stat counts which must have been
// told, as the window's bounds are not those of periods.
const seen = 0.95

// Records returns exact records of the window that polls were made of at the same
// time. It returns false where ticks cannot give them: some are missing, the
// quota changed, or a burst allowance hides what was used.
func (k *Ticks) Records(polls *Records) (*Records, bool) {
	if k.over || len(k.ticks) < 2 {
		return nil, false
	}
	first := k.ticks[0]
	exact := *polls
	exact.Exact, exact.Length = true, first.Length
	exact.Periods = make([]Period, 0, len(k.ticks))
	last, told := -1, 0
	for i, t := range k.ticks {
		// The kernel itself makes both longer when its timer is late.
		if t.Length <= 0 || t.Length != first.Length || t.Quota != first.Quota || t.Burst != 0 {
			return nil, false
		}
		p, n := k.period(i)
		index := int(math.Round(float64(t.At-first.At) / float64(t.Length)))
		if index <= last || n > maxPolls {
			return nil, false
		}
		if t.Held && i == len(k.ticks)-1 {
			told += n // how long it was held for, only the next would tell
			break
		}
		// Nothing tells how those that end together differed.
		for j := max(last+1, index-n+1); j <= index; j++ {
			p.Index = j
			if p.Used > 0 || p.Throttled {
				exact.Periods = append(exact.Periods, p)
			}
		}
		last, told = index, told+n
	}
	return &exact, len(exact.Periods) > 0 && float64(told) >= seen*float64(polls.NrPeriods)-1
}

// period returns what tick i says of each period that it ends, without the index,
// and how many these are.
func (k *Ticks) period(i int) (p Period, n int) {
	t := k.ticks[i]
	n = 1
	p = Period{Throttled: t.Held, CPUs: t.CPUs, Runnable: t.Waiting}
	used := min(t.Quota, max(0, t.Quota-t.Left))
	if i+1 < len(k.ticks) {
		next := k.ticks[i+1]
		p.Stall = max(0, next.Stall-t.Stall) // it was booked right after the tick
		n = max(1, int(next.Count-t.Count))
	}
	if t.CPUs > 0 && p.Stall > 0 {
		p.Held = (p.Stall + t.Later) / time.Duration(t.CPUs*n)
		if i > 0 && n == 1 {
			// What the timer was late by, the hold is longer by, or the next shorter.
			if late := t.At - k.ticks[i-1].At - t.Length; late.Abs() < t.Length/2 {
				p.Held -= late
			}
		}
		p.Held = min(t.Length, max(1, p.Held))
	}
	p.Used, p.Stall = used/time.Duration(n), p.Stall/time.Duration(n)
	return p, n
}
