// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"time"

	"github.com/slicewatch/slicewatch/bpf/durations/stretch"
)

// account is what is known of one container and was not taken yet.
type account struct {
	merger stretch.Merger
	// tellThrottle takes the merger's stretches; kept, as making it allocates.
	tellThrottle func(nanos uint64)
	counts       [NumKinds]counts
	fresh        bool      // there is something to take
	finished     bool      // the cgroup is gone
	used         time.Time // when somebody last asked for it
	excess       throttleExcess
	// rawNanos is the sum of the single CPUs' holds, which throttled_usec is.
	rawNanos uint64
}

// counts are the durations of one kind.
type counts struct {
	cells []uint64 // nil until there is one
	nanos uint64
	// last is what the kernel had counted when it was last looked at; of
	// stalls only.
	last *stallStallSum
}

func newAccount(r *Reader) *account {
	a := &account{}
	a.tellThrottle = func(nanos uint64) { a.add(Throttle, r.cell(nanos), 1, nanos) }
	return a
}

func (a *account) add(kind Kind, cell int, count, nanos uint64) {
	c := &a.counts[kind]
	if c.cells == nil {
		c.cells = make([]uint64, stallCells)
	}
	c.cells[cell] += count
	c.nanos += nanos
	a.fresh = true
}

// addStalls takes over what the kernel's counts grew by.
func (a *account) addStalls(kind Kind, sum *stallStallSum) {
	c := &a.counts[kind]
	if c.last == nil {
		c.last = &stallStallSum{}
	}
	for cell, now := range &sum.Cells {
		// The kernel's count is of 32 bits and may go round.
		if grown := now - c.last.Cells[cell]; grown != 0 {
			a.add(kind, cell, uint64(grown), 0)
		}
	}
	c.nanos += sum.LengthNs - c.last.LengthNs
	*c.last = *sum
}

func (a *account) settle(now uint64) {
	if a.merger.Pending() {
		a.merger.Settle(now, a.tellThrottle)
	}
}

// take passes the counts on and forgets them.
func (c *counts) take(kind Kind, cells int, fold func(Kind, []uint64, uint64)) {
	if c.total() == 0 {
		return
	}
	fold(kind, c.cells[:cells], c.nanos)
	clear(c.cells)
	c.nanos = 0
}

func (c *counts) total() uint64 {
	n := uint64(0)
	for _, count := range c.cells {
		n += count
	}
	return n
}
