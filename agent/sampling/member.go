// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"errors"
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// kind says what a container's cgroup is. Without names it takes a process in
// it to tell.
type kind uint8

const (
	undecided kind = iota
	application
	sandbox
)

// member is one living cgroup.
type member struct {
	cgroup  *cgroupfs.Cgroup
	reading cgroupfs.Reading
	inc     *ledger.Incarnation
	// guaranteed is kubepods' second account, for the class without a slice.
	guaranteed *ledger.Incarnation
	kind       kind
	// sandboxLike says that an undecided container looked like a sandbox.
	sandboxLike bool
	// unseen counts the looks at an undecided container that found tasks in
	// it but no process.
	unseen int
	procs  processFacts
	// born is when the cgroup appeared, as its directory says.
	born time.Time
	// watched says that it was born while the agent looked on.
	watched bool
	// eldest is the first cgroup that was seen in it; whole says that it was
	// the first ever.
	eldest uint64
	whole  bool
	// gone is when the tree dropped it, while its death is waited for. final
	// says that reading is what the kernel said at its death, late that some of it
	// is what it said after that.
	gone        time.Time
	final, late bool
	// read says that it was read at least once, readAt when last.
	read   bool
	readAt time.Time
	// countedAt is when the sweep began that counted it last, or the kernel told.
	countedAt time.Time
	// rateAt and rateUsage are where the CPU rate is taken from.
	rateAt    time.Time
	rateUsage uint64
	peak      uint64 // memory.peak of the reading before
	life      lifeFacts
	// presumed says that its death was lost, and when it was is not known.
	presumed bool
}

// started is when a member's main process started, else when its cgroup
// appeared.
func (m *member) started() time.Time {
	if !m.procs.started.IsZero() {
		return m.procs.started
	}
	return m.born
}

func (s *Sampler) read(m *member, now time.Time, how func(*cgroupfs.Cgroup, *cgroupfs.Reading) error) {
	at := time.Now()
	err := how(m.cgroup, &m.reading)
	switch {
	case errors.Is(err, cgroupfs.ErrGone):
		s.cfg.Telemetry.SweepErrors("vanished", 1)
		return
	case err != nil:
		s.complain.about("read", err)
	}
	m.read, m.readAt, m.countedAt = true, at, now
	if s.noSwap {
		for _, f := range swapFields {
			m.reading.Unset(f)
		}
	}
}

// swapFields have files on nodes without swap too, where they say nothing.
var swapFields = []cgroupfs.Field{
	cgroupfs.SwapCurrent, cgroupfs.SwapMax, cgroupfs.SwapEventHigh, cgroupfs.SwapEventMax, cgroupfs.SwapEventFail,
}

// account joins a member with its names, carries its counters and its peaks.
func (s *Sampler) account(m *member, now time.Time) {
	if !m.read {
		return
	}
	switch m.cgroup.Level {
	case cgroupfs.LevelPod:
		s.accountPod(m)
	case cgroupfs.LevelContainer:
		s.accountContainer(m, now)
	}
}

func (s *Sampler) accountPod(m *member) {
	id := s.cfg.Identities.Pod(m.cgroup)
	s.open(m, ledger.Key{Level: cgroupfs.LevelPod, QoS: m.cgroup.QoS, Namespace: id.Namespace, Pod: id.Name, Named: id.Known})
	s.cfg.Book.Record(m.inc, &m.reading, ledger.Counters())
	t := s.trackOf(m)
	switch key := m.inc.Series().Key(); {
	case t.pod != nil && t.cgroup != m.cgroup.ID:
		// One that is on its way out, beside its successor of the same name.
	case id.Known || !key.Named:
		t.pod = id
	case t.pod == nil || t.pod.UID != m.cgroup.PodUID:
		// The names are from before the agent's restart.
		t.pod = &snapshot.PodIdentity{Namespace: key.Namespace, Name: key.Pod, UID: m.cgroup.PodUID, Known: true}
	}
}

func (s *Sampler) accountContainer(m *member, now time.Time) {
	m.life.note(&m.reading, m.watched, now)
	if is, known := s.cfg.Identities.Sandbox(m.cgroup); known {
		m.kind = application
		if is {
			m.kind = sandbox
		}
	}
	if m.kind == sandbox {
		s.takeDurations(m, nil, false)
	}
	if m.kind != application {
		return
	}
	id := s.cfg.Identities.Container(m.cgroup)
	s.open(m, ledger.Key{Level: cgroupfs.LevelContainer, QoS: m.cgroup.QoS, Namespace: id.Namespace, Pod: id.Pod, Container: id.Name, Named: id.Known})
	s.recordContainer(m)
	t := s.trackOf(m)
	switch key := m.inc.Series().Key(); {
	case t.container != nil && t.cgroup != m.cgroup.ID:
		// As of pods.
	case id.Known || !key.Named:
		t.container = id
	case t.container == nil || t.container.PodUID != m.cgroup.PodUID:
		t.container = &snapshot.ContainerIdentity{Namespace: key.Namespace, Pod: key.Pod, Name: key.Container, PodUID: m.cgroup.PodUID, Known: true}
	}
	t.notePeaks(m, now, s.cfg.Interval)
	s.takeDurations(m, t, false)
}

// open makes sure that m has an incarnation under key, and moves its track
// along when the series gets its names.
func (s *Sampler) open(m *member, key ledger.Key) {
	if m.inc == nil {
		m.inc = s.cfg.Book.Open(key, m.cgroup.ID)
		return
	}
	old := m.inc.Series()
	if !key.Named || old.Key() == key {
		return
	}
	s.cfg.Book.Rename(m.inc, key)
	t := s.tracks[old.Number()]
	if s.cfg.Book.Find(old.Key()) == nil {
		delete(s.tracks, old.Number())
		switch number := m.inc.Series().Number(); {
		case t == nil:
		case s.tracks[number] == nil:
			s.tracks[number] = t
		default:
			s.tracks[number].mergeHeld(t)
			s.holds.changed = true
		}
	}
}

// cfsFields are the counters that the kernel does not add up over the tree,
// because each cgroup has a quota of its own: the classes' are sums over the
// containers.
var cfsFields = [...]cgroupfs.Field{
	cgroupfs.CPUPeriods, cgroupfs.CPUThrottledPeriods, cgroupfs.CPUThrottled, cgroupfs.CPUBurstPeriods, cgroupfs.CPUBurst,
}

// recordContainer records a container and adds what its quota's counters grew
// by to its class and to kubepods.
func (s *Sampler) recordContainer(m *member) {
	series := m.inc.Series()
	var before [len(cfsFields)]uint64
	for i, f := range cfsFields {
		before[i], _ = series.Total().Get(f)
	}
	s.cfg.Book.Record(m.inc, &m.reading, ledger.Counters())
	quota, ok := m.reading.Get(cgroupfs.CPUQuota)
	limited := ok && quota != cgroupfs.Unlimited
	for i, f := range cfsFields {
		after, ok := series.Total().Get(f)
		if ok && (limited || after > before[i]) {
			s.classes.add(m.cgroup.QoS, f, after-before[i])
		}
	}
}
