// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"time"
)

// Number is a number that may be unknown, which is not 0.
type Number struct {
	V     float64
	Known bool
}

// Known returns a number that is known.
func Known(v float64) Number { return Number{V: v, Known: true} }

// usable says whether n is known and a quantity at all.
func (n Number) usable() bool {
	return n.Known && n.V >= 0 && !math.IsInf(n.V, 0) && !math.IsNaN(n.V)
}

// Sample is what one container used in one interval. Numbers that are not known
// say nothing: a sample may be of CPU or of memory alone.
type Sample struct {
	// At is the end of the interval, Elapsed its length, which weighs the CPU
	// use. Without it the CPU numbers are left out.
	At      time.Time
	Elapsed time.Duration

	// CPUCores is the mean use over the interval.
	CPUCores Number
	// WorkingSetBytes is memory.current minus inactive_file at At, or the
	// highest that is known of the interval.
	WorkingSetBytes Number
	// MemoryLimitBytes is the container's own limit; unknown without one.
	MemoryLimitBytes Number
	// MemoryPressure is the share of the interval in which some task stalled
	// on memory (PSI), 0 to 1.
	MemoryPressure Number
	// MemoryHighEvents counts how often tasks were held at memory.high in the
	// interval, FileRefaults the pages of files that were read again soon
	// after their eviction.
	MemoryHighEvents Number
	FileRefaults     Number
}

// maxElapsed bounds what one sample may weigh: a counter that was not read for
// long says nothing about when in that time it grew.
const maxElapsed = time.Hour

// maxCores is more than any machine has; a rate above it is a broken counter.
const maxCores = 4096

// Add takes one sample in. Samples come in order of time, those of several
// pods of one workload in any order within a sweep. What is no quantity (NaN,
// negative, above any machine's size) is left out.
func (s *Series) Add(sample Sample) {
	if sample.At.IsZero() {
		return
	}
	sample.At = wall(sample.At)
	s.seen(sample.At)
	if sample.CPUCores.usable() && sample.CPUCores.V <= maxCores && sample.Elapsed > 0 {
		s.cpu.add(sample.At, min(sample.Elapsed, maxElapsed), sample.CPUCores.V)
		s.peaks.addCPU(sample.At, sample.CPUCores.V)
		s.published.note(sample.At, min(sample.Elapsed, maxElapsed), sample.CPUCores.V)
	}
	if sample.WorkingSetBytes.usable() {
		s.peaks.addMemory(sample.At, sample.WorkingSetBytes.V)
	}
	s.pressure.add(&sample)
}

// seen moves the series' own times along.
func (s *Series) seen(at time.Time) {
	if s.first.IsZero() {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
}
