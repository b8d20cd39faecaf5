// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"cmp"
	"os"
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var pageBytes = int64(os.Getpagesize())

// sandboxSeries marks the numbers of entries that have no series in the book.
const sandboxSeries = 1 << 63

func (s *Sampler) publish(now time.Time) {
	s.cfg.Store.Publish(func(snap *snapshot.Snapshot) {
		snap.Taken, snap.Sweeps, snap.Node = now, s.counts.sweeps, s.node
		s.fillClasses(snap)
		snap.Pods, snap.Containers = snap.Pods[:0], snap.Containers[:0]
		for _, series := range s.cfg.Book.Series() {
			switch series.Key().Level {
			case cgroupfs.LevelPod:
				snap.Pods = append(snap.Pods, s.pod(series))
			case cgroupfs.LevelContainer:
				snap.Containers = append(snap.Containers, s.container(series, now))
			}
		}
		snap.Cgroups = [len(snap.Cgroups)]int{}
		snap.Unidentified = 0
		for _, m := range s.order {
			snap.Cgroups[m.cgroup.Level]++
			if m.kind == sandbox && m.read {
				snap.Containers = append(snap.Containers, s.sandbox(m))
			}
			if m.kind == application && !s.cfg.Identities.Container(m.cgroup).Known {
				snap.Unidentified++
			}
		}
		snap.Sources = s.sources.appendTo(snap.Sources[:0])
		snap.Self = s.self()
		s.cfg.Kills.Fill(snap)
		s.cfg.Lives.NoteKills(snap.OOMRecords, now)
		snap.Lives = s.cfg.Lives.Newest()
		if s.cfg.Hints != nil {
			s.cfg.Hints.Fill(snap)
		}
	})
}

func (s *Sampler) pod(series *ledger.Series) snapshot.Pod {
	key, t := series.Key(), s.tracks[series.Number()]
	p := snapshot.Pod{Series: series.Number(), QoS: key.QoS, Ended: series.Ended()}
	p.Total = *series.Total()
	if t != nil {
		p.Identity, p.Path, p.CgroupID, p.Started = t.pod, t.path, t.cgroup, t.started
	}
	if p.Identity == nil { // ended before the agent started
		p.Identity = &snapshot.PodIdentity{Namespace: key.Namespace, Name: key.Pod, Known: key.Named}
		s.newTrack(series).pod = p.Identity
	}
	if m := s.newest(series); m != nil {
		p.Current = m.reading
	}
	return p
}

func (s *Sampler) container(series *ledger.Series, now time.Time) snapshot.Container {
	key, t := series.Key(), s.tracks[series.Number()]
	c := snapshot.Container{Series: series.Number(), QoS: key.QoS, Ended: series.Ended(), Starts: series.Starts()}
	c.Total = *series.Total()
	if t == nil { // ended before the agent started
		t = s.newTrack(series)
		t.container = &snapshot.ContainerIdentity{Namespace: key.Namespace, Pod: key.Pod, Name: key.Container, Known: key.Named}
	}
	c.Identity, c.Path, c.CgroupID, c.Started = t.container, t.path, t.cgroup, t.started
	c.ContainerID, c.Runtime = t.containerID, cmp.Or(t.runtime, t.container.Runtime)
	if t.peaks != nil {
		c.CPUPeakMicros, c.MemoryPeakBytes = t.peaks.cpuMicros.max(now), t.peaks.memoryBytes.max(now)
	}
	t.fillDurations(&c)
	if m := s.newest(series); m != nil {
		c.Current = m.reading
		c.Processes, c.OOMScoreAdj, c.OOMScore, c.OOMRank = m.procs.count, m.procs.adj, m.procs.score, m.procs.rank
		c.Program = m.procs.program
		c.HighestMemoryBytes = m.life.highest
	}
	return c
}

func (s *Sampler) sandbox(m *member) snapshot.Container {
	c := snapshot.Container{
		Series: sandboxSeries | m.cgroup.ID, Identity: s.cfg.Identities.Container(m.cgroup), QoS: m.cgroup.QoS,
		Path: m.cgroup.Path, CgroupID: m.cgroup.ID, ContainerID: m.cgroup.ContainerID, Runtime: m.cgroup.Runtime,
		Sandbox: true, Started: m.started(), Starts: 1,
		Processes: m.procs.count, OOMScoreAdj: m.procs.adj, OOMScore: m.procs.score,
	}
	c.Current = m.reading
	return c
}

// newest returns the living member of a series that its gauges come from.
func (s *Sampler) newest(series *ledger.Series) *member {
	inc := series.Newest()
	if inc == nil {
		return nil
	}
	return s.members[inc.Cgroup()]
}

func (s *Sampler) self() snapshot.Self {
	files, tree, book, flight := s.cfg.Reader.Stats(), s.cfg.Tree.Stats(), s.cfg.Book.Stats(), s.cfg.Flight.Stats()
	return snapshot.Self{
		OpenFiles: files.OpenFiles, OpenFilesLimit: files.MaxOpen, FilesOpenedAnew: files.OpenedAnew,
		Watches: tree.Watches, WatchesFailed: tree.WatchesFailed, WatchOverflows: tree.Overflows,
		IgnoredCgroups: tree.Ignored + tree.Truncated,
		RetainedSeries: book.Ended, RetainedDropped: book.LostEnded,
		LateSweeps: s.counts.late, StateWrites: s.counts.stateWrites, StateWriteErrors: s.counts.stateErrors,
		FlightContainers: flight.Containers, FlightRefused: flight.Refused,
	}
}
