// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const (
	// namesWait is for how long the names of an ended container may come: the
	// API server has them a second or two after a container's start, and that
	// can be after its end.
	namesWait = time.Minute
	// maxNameless bounds the containers whose names are waited for.
	maxNameless = 1000
)

// nameless is an ended container whose names did not come in time.
type nameless struct {
	cgroup *cgroupfs.Cgroup
	series *ledger.Series
	ended  time.Time
}

// forgetNames lets go of what is known of an ended cgroup's names, at once or
// when they have come.
func (s *Sampler) forgetNames(m *member, ended time.Time) {
	if m.inc == nil || m.cgroup.Level != cgroupfs.LevelContainer || m.inc.Series().Key().Named || len(s.nameless) >= maxNameless {
		s.cfg.Identities.Forget(m.cgroup)
		return
	}
	s.nameless = append(s.nameless, nameless{m.cgroup, m.inc.Series(), ended})
}

// nameTheEnded hands what ended without a name to the series of its name.
func (s *Sampler) nameTheEnded(now time.Time) {
	waiting := s.nameless[:0]
	for _, n := range s.nameless {
		id := s.cfg.Identities.Container(n.cgroup)
		if !id.Known && now.Sub(n.ended) < namesWait {
			waiting = append(waiting, n)
			continue
		}
		switch isSandbox, known := s.cfg.Identities.Sandbox(n.cgroup); {
		case known && isSandbox:
			s.cfg.Lives.Remove(n.cgroup.ID)
		case id.Known:
			s.adopt(n, id)
		}
		s.cfg.Identities.Forget(n.cgroup)
	}
	clear(s.nameless[len(waiting):])
	s.nameless = waiting
}

func (s *Sampler) adopt(n nameless, id *snapshot.ContainerIdentity) {
	s.cfg.Lives.Name(n.cgroup.ID, id)
	to := s.cfg.Book.Adopt(n.series, ledger.Key{
		Level: cgroupfs.LevelContainer, QoS: n.cgroup.QoS, Namespace: id.Namespace, Pod: id.Pod, Container: id.Name, Named: true,
	})
	if to == nil {
		return
	}
	s.lifecycle.moveLate(n.cgroup.ID, to)
	t := s.tracks[n.series.Number()]
	delete(s.tracks, n.series.Number())
	have := s.tracks[to.Number()]
	switch {
	case t == nil:
	case have == nil:
		t.container = id
		s.tracks[to.Number()] = t
	default:
		have.joinPeaks(t)
		have.mergeHeld(t)
	}
}
