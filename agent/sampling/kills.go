// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Kills keeps account of OOM kills; *oom.Keeper, which says what is called
// when.
type Kills interface {
	Observe(c *cgroupfs.Cgroup, r *cgroupfs.Reading, now time.Time)
	Identify(c *cgroupfs.Cgroup, id *snapshot.ContainerIdentity)
	Sandbox(c *cgroupfs.Cgroup)
	Ended(c *cgroupfs.Cgroup, last *cgroupfs.Reading, now time.Time)
	Finish(now time.Time)
	Close(now time.Time)
	Fill(snap *snapshot.Snapshot)
}

// Flight records the last minutes of containers; *flight.Recorder.
type Flight interface {
	Note(cgroup uint64, at time.Time, r *cgroupfs.Reading)
	End(cgroup uint64, at time.Time)
	Expire(now time.Time)
	Stats() flight.Stats
}

// recordSweep hands what was read to the flight recorder and to the account of
// OOM kills, which writes down what it decided before that is published.
func (s *Sampler) recordSweep(now time.Time) {
	for _, m := range s.order {
		if m.read {
			s.record(m, now)
		}
	}
	s.cfg.Flight.Expire(now)
	s.cfg.Kills.Finish(now)
}

func (s *Sampler) record(m *member, now time.Time) {
	if m.kind == application {
		s.cfg.Flight.Note(m.cgroup.ID, now, &m.reading)
	}
	s.cfg.Kills.Observe(m.cgroup, &m.reading, now)
	s.recordNames(m)
}

func (s *Sampler) recordNames(m *member) {
	switch {
	case m.kind == sandbox:
		s.cfg.Kills.Sandbox(m.cgroup)
	case m.kind == application && m.inc != nil:
		if t := s.tracks[m.inc.Series().Number()]; t != nil && t.container != nil {
			s.cfg.Kills.Identify(m.cgroup, t.container)
		}
	}
}

// recordEnd does so for a cgroup that is gone, with what it said last.
func (s *Sampler) recordEnd(m *member, now time.Time) {
	s.recordNames(m)
	var last cgroupfs.Reading
	if m.read {
		last = m.reading
	}
	s.cfg.Kills.Ended(m.cgroup, &last, now)
	s.cfg.Flight.End(m.cgroup.ID, now)
}
