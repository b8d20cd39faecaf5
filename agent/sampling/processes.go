// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/procfs"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const (
	// processesPerSweep bounds the processes that one sweep looks at. A node
	// with more of them gets its OOM scores over several sweeps.
	processesPerSweep = 512
	// sandboxAdj is what the kubelet gives every pod's sandbox, and nothing
	// else (pkg/kubelet/qos, via the CRI's sandbox oom_score_adj).
	sandboxAdj = -998
	// settledAge is how old a process must be before its oom_score_adj says what
	// it is: while runc sets a container up, its process still has the
	// adjustment of the shim that started it, which may be the sandbox's too.
	settledAge = 2 * time.Second
	// unkillable is the adjustment of what the kernel never kills.
	unkillable = -1000
)

// processFacts is what the processes of a container tell.
type processFacts struct {
	looked  bool
	count   snapshot.Amount
	adj     snapshot.Amount // of the main process
	score   snapshot.Amount // the highest
	rank    snapshot.Amount
	started time.Time // when the main process started; zero if unknown

	mainPID int
	// program is what the command line of programPID shows.
	programPID int
	program    snapshot.Runtime
	// top is the process with the highest score, in the kernel's own measure
	// but for swap and page tables.
	topPages, topAdj int64
}

// processSweep goes around the containers' processes.
type processSweep struct {
	pids   []int
	cursor int
}

// lookAtProcesses looks at the processes of as many containers as the bound
// allows, first at those that were not looked at yet.
func (s *Sampler) lookAtProcesses(now time.Time) {
	left := processesPerSweep
	for _, m := range s.order {
		if m.cgroup.Level == cgroupfs.LevelContainer && (!m.procs.looked || m.kind == undecided) && left > 0 {
			left -= s.look(m, now)
		}
	}
	for range s.order {
		if left <= 0 {
			break
		}
		s.processes.cursor = (s.processes.cursor + 1) % len(s.order)
		if m := s.order[s.processes.cursor]; m.cgroup.Level == cgroupfs.LevelContainer {
			left -= s.look(m, now)
		}
	}
	s.rank.update(s.order, s.node.MemoryBytes)
}

// look reads the processes of one container and returns how many.
func (s *Sampler) look(m *member, now time.Time) int {
	pids, err := s.cfg.Reader.Procs(m.cgroup, s.processes.pids[:0])
	s.processes.pids = pids
	if err != nil {
		if !errors.Is(err, cgroupfs.ErrGone) {
			s.complain.about("processes", err)
		}
		return 1
	}
	m.procs.looked = true
	m.procs.count = snapshot.Amount{N: int64(len(pids)), Known: true}
	s.lookAtMain(m, pids)
	s.lookAtScores(m, pids)
	if m.kind == undecided {
		m.kind = s.decide(m, pids, now)
	}
	return 1 + len(pids)
}

// lookAtMain finds the container's main process, which is its oldest: the
// first that the runtime started.
func (s *Sampler) lookAtMain(m *member, pids []int) {
	if m.procs.mainPID == 0 || !slices.Contains(pids, m.procs.mainPID) {
		m.procs.mainPID = 0
		oldest := time.Duration(0)
		for _, pid := range pids {
			stat, err := s.cfg.Processes.Stat(pid)
			if err != nil {
				s.processFailed(err)
				continue
			}
			if m.procs.mainPID == 0 || stat.Start < oldest || stat.Start == oldest && pid < m.procs.mainPID {
				m.procs.mainPID, oldest = pid, stat.Start
			}
		}
		if m.procs.mainPID != 0 {
			started := s.cfg.BootTime.Add(oldest)
			if m.procs.started.IsZero() || started.Before(m.procs.started) {
				m.procs.started = started
			}
		}
	}
	main := m.procs.mainPID
	if main == 0 && len(pids) > 0 {
		main = slices.Min(pids) // no start times: a recorded tree
	}
	m.procs.adj = snapshot.Amount{}
	if main != 0 {
		adj, err := s.cfg.Processes.OOMScoreAdj(main)
		m.procs.adj = snapshot.Amount{N: adj, Known: err == nil}
		s.processFailed(err)
	}
}

func (s *Sampler) lookAtScores(m *member, pids []int) {
	m.procs.score = snapshot.Amount{}
	top := 0
	for _, pid := range pids {
		score, err := s.cfg.Processes.OOMScore(pid)
		if err != nil {
			s.processFailed(err)
			continue
		}
		if !m.procs.score.Known || score > m.procs.score.N {
			m.procs.score, top = snapshot.Amount{N: score, Known: true}, pid
		}
	}
	if top == 0 {
		return
	}
	s.lookAtProgram(m, top)
	m.procs.topAdj = m.procs.adj.N
	if top != m.procs.mainPID {
		if adj, err := s.cfg.Processes.OOMScoreAdj(top); err == nil {
			m.procs.topAdj = adj
		}
	}
	m.procs.topPages, _ = s.cfg.Processes.ResidentPages(top) // 0 only weakens the order of equals
}

// lookAtProgram reads the command line of the largest process once.
func (s *Sampler) lookAtProgram(m *member, pid int) {
	if pid == m.procs.programPID {
		return
	}
	program, err := s.cfg.Processes.Program(pid)
	if err != nil {
		s.processFailed(err)
		return
	}
	m.procs.programPID, m.procs.program = pid, program
}

func (s *Sampler) processFailed(err error) {
	if err != nil && !errors.Is(err, procfs.ErrGone) {
		s.complain.about("processes", err)
	}
}

// decide tells an application's container from a sandbox by its processes.
func (s *Sampler) decide(m *member, pids []int, now time.Time) kind {
	group, _ := m.reading.Get(cgroupfs.MemoryOOMGroup)
	switch {
	case group == 1: // the kubelet sets it for containers only
		return application
	case len(pids) == 0:
		return s.decideBlind(m)
	case !m.procs.adj.Known:
		return undecided
	}
	m.sandboxLike = m.procs.adj.N == sandboxAdj
	switch {
	case !s.settled(pids, now):
		return undecided
	case m.sandboxLike && len(pids) == 1:
		return sandbox
	}
	return application
}

// settled says that what runs in a container is what is to run there. While the
// runtime sets it up there are processes of its own, up to three, with the
// adjustment of whatever started them.
func (s *Sampler) settled(pids []int, now time.Time) bool {
	old, gone := false, 0
	for _, pid := range pids {
		stat, err := s.cfg.Processes.Stat(pid)
		switch {
		case errors.Is(err, procfs.ErrGone):
			gone++
		case err != nil || stat.InRuntime:
			return false
		case now.Sub(s.cfg.BootTime.Add(stat.Start)) >= settledAge:
			old = true
		}
	}
	// A recorded tree has no start times: as old as need be.
	return old || gone == len(pids)
}

// decideBlind is for an agent that does not see the node's processes (no
// hostPID): pids.current counts some again and again, cgroup.procs shows none.
// Of a pod's containers the sandbox is made first, and cgroup ids only grow.
func (s *Sampler) decideBlind(m *member) kind {
	if tasks, ok := m.reading.Get(cgroupfs.PIDsCurrent); !ok || tasks == 0 {
		return undecided // nothing was started in it yet
	}
	m.unseen++
	if m.unseen < 3 {
		return undecided
	}
	s.sources.blind = true
	guess := undecided // while it is the only one
	for _, other := range s.order {
		if other == m || other.cgroup.Parent != m.cgroup.Parent || other.cgroup.Level != cgroupfs.LevelContainer {
			continue
		}
		if other.cgroup.ID < m.cgroup.ID {
			return application
		}
		guess = sandbox
	}
	return guess
}

// ranking is the order in which the kernel would kill in a node-wide OOM.
type ranking struct{ order []*member }

// update gives each container with a killable process its rank. The kernel's
// own measure (mm/oom_kill.c, oom_badness) is finer than oom_score: equals are
// told apart by pages and adjustment.
func (r *ranking) update(members []*member, memory snapshot.Amount) {
	r.order = r.order[:0]
	for _, m := range members {
		m.procs.rank = snapshot.Amount{}
		if m.cgroup.Level == cgroupfs.LevelContainer && m.kind == application && m.procs.score.Known && m.procs.topAdj != unkillable {
			r.order = append(r.order, m)
		}
	}
	totalPages := memory.N / pageBytes
	slices.SortFunc(r.order, func(a, b *member) int {
		return cmp.Or(
			cmp.Compare(b.procs.score.N, a.procs.score.N),
			cmp.Compare(b.procs.badness(totalPages), a.procs.badness(totalPages)),
			cmp.Compare(a.cgroup.ID, b.cgroup.ID),
		)
	})
	for i, m := range r.order {
		m.procs.rank = snapshot.Amount{N: int64(i + 1), Known: true}
	}
}

func (p *processFacts) badness(totalPages int64) int64 {
	return p.topPages + p.topAdj*totalPages/1000
}
