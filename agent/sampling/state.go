// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"context"
	"log/slog"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// save writes the counters, before they are published: an agent that is killed
// then never comes back with a smaller one.
func (s *Sampler) save() {
	if s.cfg.Journal == nil {
		return
	}
	err := s.cfg.Journal.Write(func(buf []byte) []byte { return s.cfg.Book.AppendState(buf, s.cfg.BootID) })
	for _, other := range []error{s.saveHeld(), s.saveLives()} {
		if err == nil {
			err = other
		}
	}
	s.counts.stateWrites++
	s.sources.journal = err
	if err != nil {
		s.counts.stateErrors++
		s.complain.about("state", err)
		return
	}
	if s.ended {
		s.ended = false
		select {
		case s.syncWants <- struct{}{}:
		default:
		}
	}
}

// minBetweenSyncs bounds how often the disk is made to write.
const minBetweenSyncs = 10 * time.Second

// syncWhenAsked brings the counters to the disk after something ended, apart
// from the sweeps: a slow disk must not hold them up. A killed agent does not
// need this, a node that loses power does.
func (s *Sampler) syncWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.syncWants:
		}
		s.sync()
		select {
		case <-ctx.Done():
			return
		case <-time.After(minBetweenSyncs):
		}
	}
}

func (s *Sampler) sync() {
	if s.cfg.Journal == nil {
		return
	}
	err := s.cfg.Journal.Sync()
	if err == nil && s.cfg.HeldJournal != nil {
		err = s.cfg.HeldJournal.Sync()
	}
	if err == nil && s.cfg.LivesJournal != nil {
		err = s.cfg.LivesJournal.Sync()
	}
	if err != nil {
		s.log.Warn("the counters could not be brought to the disk; a crash of the node would lose the newest", "error", err)
	}
}

// nodeEvery is how often the size of the node is looked at.
const nodeEvery = time.Minute

func (s *Sampler) readNode(now time.Time) {
	if !now.Before(s.nodeDue) {
		s.nodeDue = now.Add(nodeEvery)
		cpus, err := s.cfg.Node.CPUs()
		s.node.CPUs = snapshot.Amount{N: int64(cpus), Known: err == nil}
		s.sources.node = err
		memory, err := s.cfg.Node.MemoryBytes()
		s.node.MemoryBytes = snapshot.Amount{N: int64(memory), Known: err == nil}
		if err != nil {
			s.sources.node = err
		}
		swap, err := s.cfg.Node.HasSwap()
		s.noSwap = err == nil && !swap
	}
	for r := range snapshot.NumResources {
		s.node.Pressure[r] = snapshot.Pressure{}
		p, err := s.cfg.Node.Pressure(r.String())
		if err != nil {
			continue // no PSI: absent, and the doctor says why
		}
		s.node.Pressure[r] = snapshot.Pressure{Some: amount(p.Some), Full: amount(p.Full)}
	}
}

func amount(v *uint64) snapshot.Amount {
	if v == nil {
		return snapshot.Amount{}
	}
	return snapshot.Amount{N: int64(*v), Known: true}
}

// complaints counts failures by reason and logs the first of each kind, then
// one a minute: a file that is broken is so at every sweep.
type complaints struct {
	log       *slog.Logger
	telemetry Telemetry
	said      map[string]time.Time
}

func (c *complaints) about(reason string, err error) {
	c.telemetry.SweepErrors(reason, 1)
	if c.said == nil {
		c.said = map[string]time.Time{}
	}
	if now := time.Now(); now.Sub(c.said[reason]) >= time.Minute {
		c.said[reason] = now
		c.log.Warn("a part of the sweep failed; the rest goes on", "part", reason, "error", err)
	}
}
