// SPDX-License-Identifier: Apache-2.0

// Package flight is the flight recorder: for each container the last minutes,
// moment by moment, so that what was killed can be asked what it did before. It
// owns how these moments are kept within a fixed memory. It must not know who
// a container is, why it ended, or where readings come from.
package flight

import (
	"math"
	"sync"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Config bounds a Recorder.
type Config struct {
	// Moments is how many are kept of each container; with one a second, 300
	// are five minutes.
	Moments int
	// Containers is how many are recorded at the most. A moment takes 40 bytes.
	Containers int
	// Retention is how long a container is kept after its end.
	Retention time.Duration
}

// Recorder keeps the newest moments of containers. Its methods may be called
// from several goroutines. Once a container is known, Note allocates nothing.
type Recorder struct {
	cfg Config

	mu      sync.Mutex
	tapes   map[uint64]*tape // by cgroup id
	free    []*tape
	refused uint64
}

// moment is a snapshot.Moment in little room. Memory is in KiB, which reaches
// to 4 TiB; what is more, or lasts longer than 71 minutes, is cut.
type moment struct {
	unixMilli                   int64
	current, workingSet, anon   uint32 // KiB
	cpu, throttled              uint32 // microseconds
	cpuPressure, memoryPressure uint32
	has                         uint8
}

// The bits of moment.has.
const (
	hasCurrent = 1 << iota
	hasWorkingSet
	hasAnon
	hasCPU
	hasThrottled
	hasCPUPressure
	hasMemoryPressure
)

// counted are the counters that a moment has the growth of.
var counted = [...]struct {
	field cgroupfs.Field
	bit   uint8
}{
	{cgroupfs.CPUUsage, hasCPU},
	{cgroupfs.CPUThrottled, hasThrottled},
	{cgroupfs.CPUPressureSome, hasCPUPressure},
	{cgroupfs.MemoryPressureSome, hasMemoryPressure},
}

// tape is one container's ring of moments.
type tape struct {
	ring  []moment
	next  int // where the next moment goes
	count int // how many there are
	last  [len(counted)]uint64
	known uint8 // which of last there are
	ended time.Time
}

// New returns an empty recorder.
func New(cfg Config) *Recorder { return &Recorder{cfg: cfg, tapes: map[uint64]*tape{}} }

// Note records what a container's cgroup said at a time. A container beyond
// the bound is left out and counted, unless one that ended can make room.
func (r *Recorder) Note(cgroup uint64, at time.Time, reading *cgroupfs.Reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tapes[cgroup]
	if t == nil {
		if t = r.blank(); t == nil {
			return
		}
		r.tapes[cgroup] = t
	}
	t.note(at, reading)
}

// blank returns an empty tape, or nil.
func (r *Recorder) blank() *tape {
	if len(r.tapes) >= r.cfg.Containers && !r.dropOldest() {
		r.refused++
		return nil
	}
	if n := len(r.free); n > 0 {
		t := r.free[n-1]
		r.free = r.free[:n-1]
		return t
	}
	return &tape{ring: make([]moment, r.cfg.Moments)}
}

// dropOldest forgets the container that ended first, if any has ended.
func (r *Recorder) dropOldest() bool {
	oldest, found := uint64(0), false
	for cgroup, t := range r.tapes {
		if !t.ended.IsZero() && (!found || t.ended.Before(r.tapes[oldest].ended)) {
			oldest, found = cgroup, true
		}
	}
	if found {
		r.drop(oldest)
	}
	return found
}

func (r *Recorder) drop(cgroup uint64) {
	t := r.tapes[cgroup]
	delete(r.tapes, cgroup)
	*t = tape{ring: t.ring}
	r.free = append(r.free, t)
}

func (t *tape) note(at time.Time, reading *cgroupfs.Reading) {
	m := moment{unixMilli: at.UnixMilli()}
	if v, ok := reading.Get(cgroupfs.MemoryCurrent); ok {
		m.current, m.has = clamp(v/1024), m.has|hasCurrent
	}
	if v, ok := reading.WorkingSet(); ok {
		m.workingSet, m.has = clamp(v/1024), m.has|hasWorkingSet
	}
	if v, ok := reading.Get(cgroupfs.MemoryAnon); ok {
		m.anon, m.has = clamp(v/1024), m.has|hasAnon
	}
	var grown [len(counted)]uint32
	for i, c := range counted {
		v, ok := reading.Get(c.field)
		if !ok {
			t.known &^= c.bit
			continue
		}
		if t.known&c.bit != 0 && v >= t.last[i] {
			grown[i] = clamp(v - t.last[i])
			m.has |= c.bit
		}
		t.last[i] = v
		t.known |= c.bit
	}
	m.cpu, m.throttled, m.cpuPressure, m.memoryPressure = grown[0], grown[1], grown[2], grown[3]
	t.ring[t.next] = m
	t.next = (t.next + 1) % len(t.ring)
	t.count = min(t.count+1, len(t.ring))
}

func clamp(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }

// End notes that a container is gone: it is kept for the retention time.
func (r *Recorder) End(cgroup uint64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tapes[cgroup]; t != nil {
		t.ended = at
	}
}

// Expire forgets what ended longer ago than the retention time.
func (r *Recorder) Expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for cgroup, t := range r.tapes {
		if !t.ended.IsZero() && now.Sub(t.ended) >= r.cfg.Retention {
			r.drop(cgroup)
		}
	}
}

// Append appends a container's moments after from and not after to, oldest
// first.
func (r *Recorder) Append(into []snapshot.Moment, cgroup uint64, from, to time.Time) []snapshot.Moment {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tapes[cgroup]
	if t == nil {
		return into
	}
	for i := range t.count {
		m := &t.ring[(t.next-t.count+i+len(t.ring))%len(t.ring)]
		if at := time.UnixMilli(m.unixMilli); at.After(from) && !at.After(to) {
			into = append(into, m.moment())
		}
	}
	return into
}

func (m *moment) moment() snapshot.Moment {
	amount := func(v uint32, unit int64, bit uint8) snapshot.Amount {
		if m.has&bit == 0 {
			return snapshot.Amount{}
		}
		return snapshot.Amount{N: int64(v) * unit, Known: true}
	}
	return snapshot.Moment{
		Time:                 time.UnixMilli(m.unixMilli).UTC(),
		MemoryBytes:          amount(m.current, 1024, hasCurrent),
		WorkingSetBytes:      amount(m.workingSet, 1024, hasWorkingSet),
		AnonBytes:            amount(m.anon, 1024, hasAnon),
		CPUMicros:            amount(m.cpu, 1, hasCPU),
		ThrottledMicros:      amount(m.throttled, 1, hasThrottled),
		CPUPressureMicros:    amount(m.cpuPressure, 1, hasCPUPressure),
		MemoryPressureMicros: amount(m.memoryPressure, 1, hasMemoryPressure),
	}
}

// Stats are the recorder's own counts.
type Stats struct {
	Containers int    // that are recorded
	Refused    uint64 // moments of containers that were not, for the bound
}

// Stats returns the recorder's own counts.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Containers: len(r.tapes), Refused: r.refused}
}
