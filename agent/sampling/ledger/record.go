// SPDX-License-Identifier: Apache-2.0

package ledger

import "github.com/slicewatch/slicewatch/cgroupfs"

// Record takes over what the living cgroup says now. Only counter fields are
// looked at. A counter that fell within one cgroup (a device that vanished
// from io.stat) goes on from where it stood. CPU time by mode is different, see
// settleModes, which changes it in r.
func (b *Book) Record(inc *Incarnation, r *cgroupfs.Reading, fields []cgroupfs.Field) {
	inc.settleModes(r)
	s := inc.series
	for _, f := range fields {
		v, ok := r.Get(f)
		if !ok {
			continue
		}
		last, had := inc.last.Get(f)
		if had && v < last {
			s.base.Add(f, last-v)
			b.fell++
		}
		inc.last.Set(f, v)
	}
	s.retotal()
}

// settleModes divides what CPU time grew by between the modes. The kernel splits it
// by ticks, and who reads it at other moments gets another split (an agent before
// this one, another reader, a person at the file). Neither part falls, and both
// together grow by no more than CPU time does: a lower part is only behind.
func (i *Incarnation) settleModes(r *cgroupfs.Reading) {
	user, ok := r.Get(cgroupfs.CPUUser)
	system, ok2 := r.Get(cgroupfs.CPUSystem)
	lastUser, had := i.last.Get(cgroupfs.CPUUser)
	lastSystem, had2 := i.last.Get(cgroupfs.CPUSystem)
	if !ok || !ok2 || !had || !had2 {
		return
	}
	grown := max(user+system, lastUser+lastSystem) - lastUser - lastSystem
	ofUser := min(max(user, lastUser)-lastUser, grown)
	r.Set(cgroupfs.CPUUser, lastUser+ofUser)
	r.Set(cgroupfs.CPUSystem, lastSystem+grown-ofUser)
}

// RecordFloor is Record for values that are differences of readings taken one
// after the other: one that is below the last is late, not reset, and ignored.
func (b *Book) RecordFloor(inc *Incarnation, r *cgroupfs.Reading, fields []cgroupfs.Field) {
	for _, f := range fields {
		if v, ok := r.Get(f); ok {
			last, _ := inc.last.Get(f)
			inc.last.Set(f, max(v, last))
		}
	}
	inc.series.retotal()
}

// Accumulate adds to a counter of s that is no cgroup's own but a sum that the
// caller keeps, such as the throttled periods of all containers of a class.
func (s *Series) Accumulate(f cgroupfs.Field, delta uint64) {
	s.base.Add(f, delta)
	s.total.Add(f, delta)
}

func (s *Series) retotal() {
	s.total = s.base
	for _, inc := range s.live {
		for _, f := range counters {
			if v, ok := inc.last.Get(f); ok {
				s.total.Add(f, v)
			}
		}
	}
}
