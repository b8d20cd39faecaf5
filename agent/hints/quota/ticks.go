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
	// CPUs is on how many it was held, Waiting how many threads waited there.
	CPUs, Waiting int
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

// seen is the share of the periods that cpu.stat counts which must have had a
// tick: a timer that comes late makes one tick of several periods.
const seen = 0.9

// Records returns exact records of the window that polls were made of at the same
// time. It returns false where ticks cannot give them: some are missing, the
// quota changed, or a burst allowance hides what was used.
func (k *Ticks) Records(polls *Records) (*Records, bool) {
	if k.over || len(k.ticks) < 2 || float64(len(k.ticks)) < seen*float64(polls.NrPeriods) {
		return nil, false
	}
	first := k.ticks[0]
	if first.Length <= 0 || first.Burst != 0 {
		return nil, false
	}
	exact := *polls
	exact.Exact, exact.Length = true, first.Length
	exact.Periods = make([]Period, 0, len(k.ticks))
	last := -1
	for i, t := range k.ticks {
		// The kernel itself makes both longer when its timer is late.
		if t.Length != first.Length || t.Quota != first.Quota || t.Burst != 0 {
			return nil, false
		}
		p := Period{
			Index: int(math.Round(float64(t.At-first.At) / float64(t.Length))),
			Used:  min(t.Quota, max(0, t.Quota-t.Left)), Throttled: t.CPUs > 0, CPUs: t.CPUs, Runnable: t.Waiting,
		}
		if i+1 < len(k.ticks) {
			p.Stall = max(0, k.ticks[i+1].Stall-t.Stall) // it was booked right after the tick
		}
		if p.Index <= last {
			return nil, false
		}
		last = p.Index
		if p.Used > 0 || p.Throttled {
			exact.Periods = append(exact.Periods, p)
		}
	}
	return &exact, len(exact.Periods) > 0
}
