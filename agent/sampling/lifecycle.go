// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"math"
	"os"
	"syscall"
	"time"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Events tells what happens to cgroups as it happens; *events.Reader.
type Events interface {
	Drain(to events.Handler) int
	Wake() <-chan struct{}
	SetKubepods(id uint64) error
	Tallies() (lifecycle, oom events.Tally)
	Status() []bpf.Status
}

// KillSink takes OOM kills in the order in which they happened. A kill comes
// before the end of its cgroup does.
type KillSink interface {
	Killed(k *events.Kill)
	// Lost says how many kills the kernel could not tell, since the programs run.
	Lost(kills uint64)
}

const (
	// maxBirths bounds the births that are kept until the tree shows the cgroup
	// or its death comes.
	maxBirths = 4096
	// birthSweeps is after how many sweeps a birth that the tree did not show
	// must have been followed by a death that was lost.
	birthSweeps = 3
	// deathGrace is for how long a cgroup that went is waited for to be told
	// dead: the directory goes a moment before.
	deathGrace = 500 * time.Millisecond
	// closedSweeps is for how many sweeps a death may still come.
	closedSweeps = 120
)

// birth is a cgroup that was born and that the tree has not shown.
type birth struct {
	told  events.Birth
	sweep uint64
	// eldest is the first cgroup that was made in this one.
	eldest uint64
	cgroup *cgroupfs.Cgroup // once located
}

// lifecycle is what the kernel told of births and deaths.
type lifecycle struct {
	births map[uint64]*birth // by cgroup id
	// leaving are members that the tree dropped and whose death was not told.
	leaving []*member
	// closed are cgroups whose account was closed without their death, with the
	// sweep of it: should the death still come, it is too late.
	closed  map[uint64]uint64
	late    map[uint64]*lateAccount // by cgroup id
	up      bool                    // births and deaths are told
	tallies [2]events.Tally         // lifecycle, OOM: as of the last sweep
}

// taker takes events on behalf of a sampler.
type taker struct{ s *Sampler }

// drain takes over what the kernel told since the last time.
func (s *Sampler) drain() {
	if s.cfg.Events != nil {
		s.cfg.Events.Drain(taker{s})
	}
}

func (s *Sampler) eventsWake() <-chan struct{} {
	if s.cfg.Events == nil {
		return nil
	}
	return s.cfg.Events.Wake()
}

// OnBirth notes a birth, for the time of it and in case that the death comes
// before the tree has shown the cgroup.
func (t taker) OnBirth(b *events.Birth) {
	s := t.s
	if m := s.members[b.ID]; m != nil {
		m.born, m.watched = b.Time, true
	} else if len(s.lifecycle.births) < maxBirths {
		s.lifecycle.births[b.ID] = &birth{told: *b, sweep: s.counts.sweeps}
	} else {
		s.cfg.Telemetry.SweepErrors("event_incomplete", 1)
	}
	if m := s.members[b.ParentID]; m != nil {
		m.noteChild(b.ID)
	} else if above := s.lifecycle.births[b.ParentID]; above != nil && above.eldest == 0 {
		above.eldest = b.ID
	}
}

// OnDeath takes over the last counters.
func (t taker) OnDeath(d *events.Death) {
	s := t.s
	m := s.members[d.ID]
	if m == nil {
		if _, late := s.lifecycle.closed[d.ID]; !late {
			s.brief(d)
		}
		delete(s.lifecycle.births, d.ID)
		return
	}
	s.takeFinal(m, &d.Final, d.Time)
	m.final = true
	if !m.gone.IsZero() {
		s.end(m, d.Time)
	}
}

// OnLate takes over what was used after a death, which is told by another CPU and
// may come next, or was lost.
func (t taker) OnLate(l *events.Late) {
	if m := t.s.members[l.ID]; m != nil {
		t.s.takeFinal(m, &l.Final, l.Time)
		m.late = true
		return
	}
	if a := t.s.lifecycle.late[l.ID]; a != nil {
		t.s.addLate(a, &l.Final, l.Time)
	}
}

// OnKill passes a kill on.
func (t taker) OnKill(k *events.Kill) {
	if t.s.cfg.KillSink != nil {
		t.s.cfg.KillSink.Killed(k)
	}
}

// takeFinal lets the last counters stand for the reading. What they do not have
// stays as it was read last.
func (s *Sampler) takeFinal(m *member, told *cgroupfs.Reading, at time.Time) {
	final := *told
	if usage, ok := final.Get(cgroupfs.CPUUsage); ok {
		last, _ := m.reading.Get(cgroupfs.CPUUsage)
		usage = min(usage, s.mostUsage(last, m.countedAt, at))
		final.Set(cgroupfs.CPUUsage, usage)
		// How the time is split is estimated: neither part may fall.
		system, _ := final.Get(cgroupfs.CPUSystem)
		before, _ := m.reading.Get(cgroupfs.CPUSystem)
		userBefore, _ := m.reading.Get(cgroupfs.CPUUser)
		system = min(max(system, before), usage)
		user := max(usage-system, min(userBefore, usage))
		final.Set(cgroupfs.CPUUser, user)
		final.Set(cgroupfs.CPUSystem, usage-user)
	}
	for f := range cgroupfs.NumFields {
		v, ok := final.Get(f)
		if last, had := m.reading.Get(f); !ok || had && f.Info().Counter && v < last {
			continue // a reading taken at the same moment was rounded another way
		}
		m.reading.Set(f, v)
	}
	if s.noSwap {
		for _, f := range swapFields {
			m.reading.Unset(f)
		}
	}
	m.read, m.readAt, m.countedAt = true, at, at
}

// unseenRun is for how long a task may have run when a counter was read that has
// none of it yet: up to the CPU's next tick, which is a second away where ticks are
// off (nohz_full, kernel/sched/core.c, sched_tick_remote).
const unseenRun = time.Second

// mostUsage returns what the CPU time of a cgroup can have come to, in µs. What is
// told at a death may be the scheduler's time of the group, which is ahead of
// what was charged by a little for each time that a CPU had nothing more to run of it:
// by minutes after a year.
func (s *Sampler) mostUsage(counted uint64, since, at time.Time) uint64 {
	if !s.node.CPUs.Known || since.IsZero() {
		return math.MaxUint64
	}
	return counted + uint64((max(at.Sub(since), 0)+unseenRun).Microseconds()*s.node.CPUs.N)
}

// brief accounts for a cgroup that was gone before the tree could show it.
func (s *Sampler) brief(d *events.Death) {
	told := events.Birth{ID: d.ID, ParentID: d.ParentID, Name: d.Name, Time: d.Time}
	b := s.lifecycle.births[d.ID]
	var since time.Time
	if b == nil {
		b = &birth{told: told} // its birth was lost, or before the agent
	} else {
		since = b.told.Time
	}
	c := s.locate(b)
	if c == nil || c.Level < cgroupfs.LevelPod {
		return
	}
	m := &member{cgroup: c, watched: true, born: b.told.Time, countedAt: since}
	s.takeFinal(m, &d.Final, d.Time)
	m.final = true
	s.end(m, d.Time)
}

// locate returns what a cgroup that the tree does not know is, nil for none
// that counts.
func (s *Sampler) locate(b *birth) *cgroupfs.Cgroup {
	if b.cgroup != nil || b.told.Name == "" {
		return b.cgroup
	}
	var parent *cgroupfs.Cgroup
	if m := s.members[b.told.ParentID]; m != nil {
		parent = m.cgroup
	} else if above := s.lifecycle.births[b.told.ParentID]; above != nil {
		parent = s.locate(above)
	}
	kubepods, ok := s.cfg.Tree.Kubepods()
	if parent == nil || !ok {
		return nil
	}
	c, ok := cgroupfs.Classify(kubepods, parent.Path+"/"+b.told.Name)
	if !ok {
		return nil
	}
	c.ID, c.Parent = b.told.ID, parent
	b.cgroup = &c
	return b.cgroup
}

// noteChild notes that a cgroup was made in m, as it happens or as the tree
// shows it.
func (m *member) noteChild(id uint64) {
	if m.eldest == 0 || id < m.eldest {
		m.eldest = id
	}
}

// appeared joins a new member of the tree with its birth.
func (s *Sampler) appeared(m *member) {
	if b := s.lifecycle.births[m.cgroup.ID]; b != nil {
		m.born, m.watched, m.eldest, m.whole = b.told.Time, true, b.eldest, true
		delete(s.lifecycle.births, m.cgroup.ID)
	}
	if m.cgroup.Parent == nil {
		return
	}
	if parent := s.members[m.cgroup.Parent.ID]; parent != nil {
		parent.noteChild(m.cgroup.ID)
	}
}

// leave is for a member that the tree dropped: its account is closed when its
// death was told, which brings its last counters.
func (s *Sampler) leave(m *member, now time.Time) {
	if m.final || !s.lifecycle.up || m.cgroup.Level == cgroupfs.LevelKubepods {
		s.end(m, now)
		return
	}
	m.gone = now
	s.lifecycle.leaving = append(s.lifecycle.leaving, m)
}

// isFirst says whether a container is the first that its pod ever had, which is
// the sandbox.
func (s *Sampler) isFirst(c *cgroupfs.Cgroup) bool {
	if c.Parent == nil || c.Level != cgroupfs.LevelContainer {
		return false
	}
	if pod := s.members[c.Parent.ID]; pod != nil {
		return pod.whole && pod.eldest == c.ID
	}
	pod := s.lifecycle.births[c.Parent.ID]
	return pod != nil && pod.eldest == c.ID
}

// judge decides what a container was that ended before its processes were
// looked at.
func (s *Sampler) judge(m *member) {
	group, _ := m.reading.Get(cgroupfs.MemoryOOMGroup)
	switch {
	case m.kind != undecided:
	case group == 1: // the kubelet sets it for containers only
		m.kind = application
	case s.isFirst(m.cgroup):
		m.kind = sandbox
	case !m.sandboxLike:
		// A sandbox lives as long as its pod: this was a short container.
		m.kind = application
	}
}

// settleLifecycle comes once a sweep, after the tree is up to date: it gives up what
// is waited for in vain and reports what was lost.
func (s *Sampler) settleLifecycle(now time.Time) {
	if s.cfg.Events == nil {
		return
	}
	s.aimEvents()
	waiting := s.lifecycle.leaving[:0]
	for _, m := range s.lifecycle.leaving {
		switch {
		case s.members[m.cgroup.ID] != m: // its death came
		case now.Sub(m.gone) < deathGrace:
			waiting = append(waiting, m)
		default:
			s.closeWithout(m, m.gone)
		}
	}
	clear(s.lifecycle.leaving[len(waiting):])
	s.lifecycle.leaving = waiting
	for id, b := range s.lifecycle.births {
		if s.counts.sweeps-b.sweep >= birthSweeps {
			s.presumeDead(b)
			delete(s.lifecycle.births, id)
		}
	}
	for id, sweep := range s.lifecycle.closed {
		if s.counts.sweeps-sweep >= closedSweeps {
			delete(s.lifecycle.closed, id)
		}
	}
	s.lifecycle.forgetLate(s.counts.sweeps)
	s.reportLost()
}

// presumeDead counts the start of a cgroup whose death was lost. One that is
// still there, but is not followed, has not ended.
func (s *Sampler) presumeDead(b *birth) {
	c := s.locate(b)
	if c == nil || c.Level < cgroupfs.LevelPod {
		return
	}
	if info, err := os.Stat(s.cfg.Root + c.Path); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino == c.ID {
			return
		}
	}
	m := &member{cgroup: c, watched: true, born: b.told.Time, read: true, readAt: b.told.Time, presumed: true}
	s.closeWithout(m, b.told.Time)
}

// closeWithout closes an account without the last counters.
func (s *Sampler) closeWithout(m *member, ended time.Time) {
	if len(s.lifecycle.closed) < maxBirths {
		s.lifecycle.closed[m.cgroup.ID] = s.counts.sweeps
	} else {
		s.cfg.Telemetry.SweepErrors("event_incomplete", 1)
	}
	s.end(m, ended)
}

// aimEvents tells the programs which cgroup is kubepods.
func (s *Sampler) aimEvents() {
	var top uint64
	if kubepods := s.kubepods(); kubepods != nil {
		top = kubepods.ID
	}
	if err := s.cfg.Events.SetKubepods(top); err != nil {
		s.complain.about("events", err)
	}
}

// reportLost counts what the kernel had no room to tell.
func (s *Sampler) reportLost() {
	var now [2]events.Tally
	now[0], now[1] = s.cfg.Events.Tallies()
	for i, source := range []string{events.Lifecycle, events.OOM} {
		s.cfg.Telemetry.EventsLost(source, int(now[i].Lost-s.lifecycle.tallies[i].Lost))
		if failed := now[i].Failed - s.lifecycle.tallies[i].Failed; failed > 0 {
			s.cfg.Telemetry.SweepErrors("event_incomplete", int(failed))
		}
	}
	s.lifecycle.tallies = now
	if s.cfg.KillSink != nil {
		s.cfg.KillSink.Lost(now[1].Lost + now[1].Failed)
	}
}

func (l *lifecycle) init(from Events) {
	l.births, l.closed, l.late = map[uint64]*birth{}, map[uint64]uint64{}, map[uint64]*lateAccount{}
	if from == nil {
		return
	}
	for _, status := range from.Status() {
		l.up = l.up || status.Program == events.Lifecycle && status.Up()
	}
}
