// SPDX-License-Identifier: Apache-2.0

package history

import "time"

// Strain is a sign that a container had too little memory though nothing was
// killed.
type Strain uint8

// The strains.
const (
	StrainPressure Strain = iota // tasks stalled on memory near the limit
	StrainHigh                   // tasks were held at memory.high
	StrainRefaults               // file pages were read again soon after their eviction
	NumStrains
)

const (
	// pressureShare is the share of time stalled on memory that counts, near
	// is how full the limit must be meanwhile, lasting how long it must go on.
	pressureShare = 0.10
	near          = 0.90
	lasting       = 2 * time.Minute
	// refaultRate is how many file pages a second must be read again to count:
	// 4 MiB/s at 4 KiB a page, which is felt on any disk.
	refaultRate = 1024
	// strainGap is how long a strain may pause without starting anew.
	strainGap = 15 * time.Second
)

// pressure watches for strains that last.
type pressure struct {
	since [NumStrains]time.Time // when the one that goes on began
	until [NumStrains]time.Time // when it was last seen
	last  [NumStrains]Squeeze
}

// Squeeze is the newest strain of a kind that lasted two minutes.
type Squeeze struct {
	At time.Time // when it was seen last; zero if never
	// LimitBytes is the container's limit then, 0 without one, WorkingSetBytes
	// what it held.
	LimitBytes, WorkingSetBytes float64
	// Amount is how strong it was: a share of time for StrainPressure, events
	// or pages a second for the others.
	Amount float64
}

func (p *pressure) add(sample *Sample) {
	limit, used := sample.MemoryLimitBytes, sample.WorkingSetBytes
	if !used.usable() || sample.Elapsed <= 0 {
		return
	}
	full := limit.usable() && limit.V > 0 && used.V >= near*limit.V
	seconds := sample.Elapsed.Seconds()
	p.note(StrainPressure, sample, full && sample.MemoryPressure.usable() && sample.MemoryPressure.V > pressureShare, sample.MemoryPressure.V)
	p.note(StrainHigh, sample, sample.MemoryHighEvents.usable() && sample.MemoryHighEvents.V > 0, sample.MemoryHighEvents.V/seconds)
	p.note(StrainRefaults, sample, full && sample.FileRefaults.usable() && sample.FileRefaults.V/seconds > refaultRate, sample.FileRefaults.V/seconds)
}

func (p *pressure) note(kind Strain, sample *Sample, strained bool, amount float64) {
	begins := sample.At.Add(-sample.Elapsed)
	if !strained {
		return
	}
	if p.since[kind].IsZero() || begins.Sub(p.until[kind]) > strainGap {
		p.since[kind] = begins
	}
	p.until[kind] = sample.At
	if sample.At.Sub(p.since[kind]) >= lasting {
		p.last[kind] = Squeeze{At: sample.At, LimitBytes: sample.MemoryLimitBytes.V, WorkingSetBytes: sample.WorkingSetBytes.V, Amount: amount}
	}
}

// Squeeze returns the newest strain of a kind that lasted.
func (s *Series) Squeeze(kind Strain) Squeeze { return s.pressure.last[kind] }

func (p *pressure) shift(move func(*time.Time)) {
	for kind := range p.since {
		move(&p.since[kind])
		move(&p.until[kind])
		move(&p.last[kind].At)
	}
}
