// SPDX-License-Identifier: Apache-2.0

// Package stretch makes stretches of time out of intervals that overlap: a
// container that four CPUs were held of at once was held once. It owns when
// such a stretch is over. It must not know where intervals come from.
package stretch

// MaxNanos is the longest stretch that is told as one, in ns. A container that
// always has a CPU held is told of in pieces of this length, twice this long
// after they began, so that what counts them is never silent.
const MaxNanos = 10_000_000_000

// maxPending bounds the stretches that are not known to be over.
const maxPending = 128

// Interval is a time in which one CPU was held, in ns of the kernel's clock.
type Interval struct{ Start, End uint64 }

// Merger unites the intervals of one cgroup. They come in the order in which
// they ended, save that one may come up to two calls of Settle late. The zero
// value is ready.
//
// A stretch is over, and told of, once no interval can come that touches it:
// after a moment at which no CPU was held, which Quiet says, or when all that
// is still to come would be longer than MaxNanos. Both count as of the call of
// Settle before, for what was on its way then.
type Merger struct {
	pending []Interval // ascending, with gaps between them
	// told is where what was told of ends.
	told        uint64
	quiet, mark uint64 // as of the Settle before
	newQuiet    uint64
}

// Add takes over one interval. tell is called with the lengths, in ns, of
// stretches that have to make room for it, which needs more than maxPending
// of them.
func (m *Merger) Add(in Interval, tell func(nanos uint64)) {
	in.Start = max(in.Start, m.told)
	if in.End <= in.Start {
		return
	}
	after := len(m.pending)
	for after > 0 && m.pending[after-1].Start > in.End {
		after--
	}
	from := after
	for from > 0 && m.pending[from-1].End >= in.Start {
		from--
		in.Start = min(in.Start, m.pending[from].Start)
		in.End = max(in.End, m.pending[from].End)
	}
	m.replace(from, after, in)
	if len(m.pending) > maxPending {
		m.tellFirst(tell)
	}
}

// replace puts one interval in the place of pending[from:after].
func (m *Merger) replace(from, after int, in Interval) {
	if from == after {
		m.pending = append(m.pending, Interval{})
		copy(m.pending[from+1:], m.pending[from:])
		m.pending[from] = in
		return
	}
	m.pending[from] = in
	m.pending = append(m.pending[:from+1], m.pending[after:]...)
}

// Quiet says that no CPU was held at a moment: what comes later and ended
// before it is already on its way.
func (m *Merger) Quiet(at uint64) { m.newQuiet = max(m.newQuiet, at) }

// Settle tells of the stretches that are over. now is the kernel's clock.
func (m *Merger) Settle(now uint64, tell func(nanos uint64)) {
	quiet, mark := m.quiet, m.mark
	m.quiet, m.mark = m.newQuiet, now
	for len(m.pending) > 0 {
		first := &m.pending[0]
		if first.End > quiet && first.End+MaxNanos >= mark {
			break
		}
		m.tellFirst(tell)
	}
	if len(m.pending) == 0 {
		return
	}
	for first := &m.pending[0]; first.Start+2*MaxNanos < mark && first.Start+MaxNanos < first.End; {
		tell(MaxNanos)
		first.Start += MaxNanos
		m.told = first.Start
	}
}

// Finish tells of all that is left: the cgroup is gone.
func (m *Merger) Finish(tell func(nanos uint64)) {
	for len(m.pending) > 0 {
		m.tellFirst(tell)
	}
}

// Pending says whether there is anything that was not told.
func (m *Merger) Pending() bool { return len(m.pending) > 0 }

func (m *Merger) tellFirst(tell func(nanos uint64)) {
	first := m.pending[0]
	copy(m.pending, m.pending[1:])
	m.pending = m.pending[:len(m.pending)-1]
	m.told = max(m.told, first.End)
	rest := first.End - first.Start
	for ; rest > MaxNanos; rest -= MaxNanos {
		tell(MaxNanos)
	}
	tell(rest)
}
