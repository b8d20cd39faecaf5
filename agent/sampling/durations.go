// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Durations tells how long containers were held; *durations.Reader. Its cells
// have snapshot.DurationBoundsNanos.
type Durations interface {
	SetPlace(place durations.Place) error
	Drain() error
	Take(container uint64, ended bool, fold func(kind durations.Kind, cells []uint64, nanos uint64))
	Lost() (throttle, stall uint64)
	Status() []bpf.Status
}

// Periods is the program that hints are made with; *durations.Periods. The sampler
// takes nothing from it but how it is.
type Periods interface {
	Status() bpf.Status
	Lost() uint64
}

// holds is what the sampler keeps of the durations.
type holds struct {
	place durations.Place
	lost  struct{ throttle, stall, periods uint64 } // as of the last report
	// into is the track that fold adds to; nil drops what comes.
	into *track
	fold func(kind durations.Kind, cells []uint64, nanos uint64)
	// changed says that there is something that the journal does not have.
	changed bool
}

// drainDurations takes over what the kernel told. It comes before a cgroup that
// is gone is closed.
func (s *Sampler) drainDurations() {
	if s.cfg.Periods != nil {
		s.countLost(sourcePeriods, s.cfg.Periods.Lost(), &s.holds.lost.periods)
	}
	if s.cfg.Durations == nil {
		return
	}
	if err := s.cfg.Durations.Drain(); err != nil {
		s.complain.about("durations", err)
	}
	throttle, stall := s.cfg.Durations.Lost()
	s.countLost(sourceThrottle, throttle, &s.holds.lost.throttle)
	s.countLost(sourceStall, stall, &s.holds.lost.stall)
}

// countLost reports what a source lost since the last report. A program's
// counter that could once not be read is 0: that is no step back, as counters
// never fall.
func (s *Sampler) countLost(source string, now uint64, reported *uint64) {
	if now > *reported {
		s.cfg.Telemetry.EventsLost(source, int(now-*reported))
		*reported = now
	}
}

// placeDurations says where containers are, after the tree changed.
func (s *Sampler) placeDurations() {
	if s.cfg.Durations == nil {
		return
	}
	var place durations.Place
	classes := place.Classes[:0]
	for _, m := range s.order {
		switch m.cgroup.Level {
		case cgroupfs.LevelKubepods:
			place.Kubepods = m.cgroup.ID
		case cgroupfs.LevelQoS:
			if len(classes) < len(place.Classes) {
				classes = append(classes, m.cgroup.ID)
			}
		}
	}
	if place == s.holds.place {
		return
	}
	if err := s.cfg.Durations.SetPlace(place); err != nil {
		s.complain.about("durations", err)
		return
	}
	s.holds.place = place
}

// takeDurations adds what is new of a member to its track. A sandbox has none.
func (s *Sampler) takeDurations(m *member, into *track, ended bool) {
	if s.cfg.Durations == nil || m.cgroup.Level != cgroupfs.LevelContainer {
		return
	}
	if s.holds.fold == nil {
		s.holds.fold = s.foldDurations // made once, as it allocates
	}
	s.holds.into = into
	s.cfg.Durations.Take(m.cgroup.ID, ended, s.holds.fold)
}

func (s *Sampler) foldDurations(kind durations.Kind, cells []uint64, nanos uint64) {
	if s.holds.into != nil {
		s.holds.changed = true
		held := &s.holds.into.held
		held[kind] = held[kind].Plus(cells, nanos)
	}
}

// endDurations takes what is left of a container that is gone.
func (s *Sampler) endDurations(m *member) {
	var into *track
	if m.inc != nil {
		into = s.tracks[m.inc.Series().Number()]
	}
	s.takeDurations(m, into, true)
}

// mergeHeld adds the durations of the same container under another name.
func (t *track) mergeHeld(other *track) {
	for kind := range t.held {
		t.held[kind] = t.held[kind].Merge(other.held[kind])
	}
}

func (t *track) fillDurations(c *snapshot.Container) {
	c.ThrottleDurations, c.StallsHigh, c.StallsLimit = t.held[durations.Throttle], t.held[durations.StallHigh], t.held[durations.StallLimit]
}
