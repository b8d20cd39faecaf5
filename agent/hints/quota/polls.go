// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
	"time"
)

// Counters are what a poll of cpu.stat found since the cgroup was made.
type Counters struct {
	Usage, Throttled          time.Duration
	Periods, ThrottledPeriods uint64
}

// PollEvery is how often cpu.stat is polled: as often as there are periods,
// unless somebody changed their length.
const PollEvery = 100 * time.Millisecond

// maxPolls bounds the records of one window: a minute of polls and what a slow
// node may add.
const maxPolls = 1200

// Polls turns polls of one cgroup's cpu.stat into records. It is for one window.
type Polls struct {
	records Records
	last    Counters
	begun   Counters
	lastAt  time.Time
	index   int
}

// Begin starts a window with a first poll. It reuses the memory of the window
// before.
func (p *Polls) Begin(at time.Time, now Counters, quotaCores float64, cpus int) {
	kept := p.records.Periods[:0]
	*p = Polls{last: now, begun: now, lastAt: at}
	p.records = Records{Start: at, QuotaCores: quotaCores, Length: PollEvery, CPUs: cpus, Periods: kept}
}

// Add takes a poll in. It returns false when the window cannot go on: the
// counters fell, so that they are another cgroup's, the clock went back, or
// there were too many polls.
func (p *Polls) Add(at time.Time, now Counters) bool {
	elapsed := at.Sub(p.lastAt)
	if elapsed <= 0 || now.Usage < p.last.Usage || now.Throttled < p.last.Throttled ||
		now.Periods < p.last.Periods || now.ThrottledPeriods < p.last.ThrottledPeriods {
		return false
	}
	// A late poll covers several: nothing tells how they differed.
	n := max(1, int(math.Round(float64(elapsed)/float64(PollEvery))))
	if len(p.records.Periods)+n > maxPolls {
		return false
	}
	used, stall := (now.Usage-p.last.Usage)/time.Duration(n), (now.Throttled-p.last.Throttled)/time.Duration(n)
	throttled := now.ThrottledPeriods - p.last.ThrottledPeriods
	if spans := PollEvery * time.Duration(n); throttled == 0 && elapsed > spans && used*time.Duration(n) > elapsed*9/10 {
		// It is late by less than a period, and CPUs were busy all the time: they
		// were no more for that.
		used = used * spans / elapsed
	}
	if now.Periods > p.last.Periods || used > 0 {
		for i := range n {
			p.records.Periods = append(p.records.Periods, Period{
				Index: p.index + i, Used: used, Stall: stall, Throttled: uint64(i) < throttled,
			})
		}
	}
	p.index += n
	p.last, p.lastAt = now, at
	return true
}

// Records returns the window's records, valid until the next Begin. threads is
// how many the container had at most, 0 if that is not known.
func (p *Polls) Records(threads int) *Records {
	r := &p.records
	r.End, r.Threads = p.lastAt, threads
	r.NrPeriods = int(p.last.Periods - p.begun.Periods)
	r.NrThrottled = int(p.last.ThrottledPeriods - p.begun.ThrottledPeriods)
	return r
}
