// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// lifeFacts is what a life's record needs of the readings before the last.
type lifeFacts struct {
	highest snapshot.Amount // memory.current
	// kills is memory.events' oom_kill, killed when it was seen to have grown.
	kills  snapshot.Amount
	killed time.Time
}

// note takes over a reading. Kills that were there when the agent came are of
// any age; in a life that it watched from the start there were none before.
func (f *lifeFacts) note(r *cgroupfs.Reading, watched bool, now time.Time) {
	if current := snapshot.AmountOf(r, cgroupfs.MemoryCurrent); current.Known {
		f.highest = snapshot.Amount{N: max(f.highest.N, current.N), Known: true}
	}
	if kills := snapshot.AmountOf(r, cgroupfs.MemoryEventOOMKill); kills.Known {
		if kills.N > f.kills.N && (f.kills.Known || watched) {
			f.killed = now
		}
		f.kills = kills
	}
}

// recordLife keeps the life of a container that is gone.
func (s *Sampler) recordLife(m *member, ended time.Time) {
	if m.inc == nil || m.cgroup.Level != cgroupfs.LevelContainer || m.kind != application {
		return
	}
	l := lifeUnder(m.inc.Series().Key(), m.cgroup.ID)
	l.PodUID, l.ContainerID = m.cgroup.PodUID, m.cgroup.ContainerID
	if l.Started = m.started(); l.Started.After(ended) { // those of processes are to 10 ms
		l.Started = ended
	}
	if !m.presumed {
		l.Ended = ended
	}
	l.Count(&m.reading, m.life.highest)
	switch {
	case !m.life.killed.IsZero() && ended.Sub(m.life.killed) <= lives.KillGrace:
		l.End = snapshot.LifeOOMKilled
	case m.final || m.late:
		l.End = snapshot.LifeEnded
	}
	s.addLife(l, ended)
}

// recordUnseen keeps the life of what ended while no agent looked: all that is
// known of it is what an earlier one counted.
func (s *Sampler) recordUnseen(inc *ledger.Incarnation, now time.Time) {
	key := inc.Series().Key()
	if key.Level != cgroupfs.LevelContainer {
		return
	}
	l := lifeUnder(key, inc.Cgroup())
	l.Ended = now
	l.Count(inc.Last(), snapshot.Amount{})
	s.addLife(l, now)
}

func lifeUnder(key ledger.Key, cgroup uint64) snapshot.Life {
	return snapshot.Life{
		Namespace: key.Namespace, Pod: key.Pod, Container: key.Container, QoS: key.QoS, CgroupID: cgroup, End: snapshot.LifeUnseen,
	}
}

func (s *Sampler) addLife(l snapshot.Life, now time.Time) {
	if dropped := s.cfg.Lives.Add(l, now); dropped > 0 {
		s.cfg.Telemetry.SweepErrors("lives_dropped", dropped)
	}
}

// saveLives writes the lives when there are new ones.
func (s *Sampler) saveLives() error {
	if s.cfg.LivesJournal == nil || !s.cfg.Lives.Changed() {
		return nil
	}
	if err := s.cfg.LivesJournal.Write(s.cfg.Lives.AppendState); err != nil {
		return fmt.Errorf("write the lives of containers: %w", err)
	}
	s.cfg.Lives.Saved()
	return nil
}
