// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const (
	levelContainer = cgroupfs.LevelContainer
	levelPod       = cgroupfs.LevelPod
)

// tally is what memory.events says of OOMs, with all that is below.
type tally struct {
	kills  int64 // oom_kill
	groups int64 // oom_group_kill
	ooms   int64 // oom: limits that were hit, there or below
}

func (t tally) plus(o tally) tally {
	return tally{t.kills + o.kills, t.groups + o.groups, t.ooms + o.ooms}
}

func (t tally) minus(o tally) tally {
	return tally{t.kills - o.kills, t.groups - o.groups, t.ooms - o.ooms}
}

// atMost returns the lesser of both in each place.
func (t tally) atMost(o tally) tally {
	return tally{min(t.kills, o.kills), min(t.groups, o.groups), min(t.ooms, o.ooms)}
}

// positive returns t with 0 for what is below.
func (t tally) positive() tally { return tally{max(t.kills, 0), max(t.groups, 0), max(t.ooms, 0)} }

// hits counts how often a cgroup's own limit was hit lately.
type hits struct {
	n  int64
	at uint64 // the sweep of the newest
}

// hitSweeps is for how long a hit may be what a kill came from. The kernel
// counts the hit first and may then reclaim, wait or find nobody to kill.
const hitSweeps = 6

func (h *hits) add(n int64, sweep uint64) {
	if n > 0 {
		h.n, h.at = h.recent(sweep)+n, sweep
	}
}

func (h *hits) recent(sweep uint64) int64 {
	if sweep-h.at > hitSweeps {
		return 0
	}
	return h.n
}

func (h *hits) spend(n int64) { h.n -= min(n, h.n) }

// role says what a container's cgroup is.
type role uint8

const (
	undecided role = iota
	application
	sandbox
)

// node is one cgroup of the tree of pods, for a while also after its end.
type node struct {
	id     uint64
	level  cgroupfs.Level
	qos    cgroupfs.QoS
	cgroup *cgroupfs.Cgroup // nil for one from a loaded state that is gone
	parent *node
	role   role

	identity *snapshot.ContainerIdentity
	series   *series
	// asks is set while the names of an ended container are still asked for.
	asks bool

	// seen is what was read last; read is false before the first time.
	seen      tally
	seenLocal int64
	read      bool
	hasLocal  bool // there is memory.events.local
	hasGroups bool // there is oom_group_kill
	group     bool // memory.oom.group is 1
	limit     snapshot.Amount
	usage     uint64

	// hits are of the cgroup's own limit; in a container also of limits below.
	hits hits
	// unsure says that hits may be of a limit below as well.
	unsure bool

	// settled is what of a container's counts was counted or explained, told
	// what events explain that the counts have not shown yet.
	settled, told tally
	toldAt        uint64
	lastGroup     *closedIncident // the newest group kill that events told
	// grew is the sweep in which something unsettled grew last, since the first.
	grew, since uint64
	grewAt      time.Time

	// debt is what a cgroup above the containers counted and no child did.
	debt   tally
	debtAt uint64 // the sweep in which it changed

	ended      time.Time
	endedSweep uint64
}

func (n *node) isContainer() bool { return n.level == levelContainer }

func tallyOf(r *cgroupfs.Reading) (t tally, ok bool) {
	kills, ok := r.Get(cgroupfs.MemoryEventOOMKill)
	groups, _ := r.Get(cgroupfs.MemoryEventOOMGroupKill)
	ooms, _ := r.Get(cgroupfs.MemoryEventOOM)
	return tally{int64(kills), int64(groups), int64(ooms)}, ok
}

// note takes over a reading and says whether anything was counted anew. A
// first one that is no news only sets the base.
func (n *node) note(r *cgroupfs.Reading, base bool, sweep uint64, now time.Time) bool {
	if v, ok := r.Get(cgroupfs.MemoryMax); ok {
		n.limit = snapshot.Amount{N: int64(v), Known: v != cgroupfs.Unlimited}
	}
	if v, ok := r.Get(cgroupfs.MemoryCurrent); ok {
		n.usage = v
	}
	group, _ := r.Get(cgroupfs.MemoryOOMGroup)
	n.group = n.group || group == 1
	t, ok := tallyOf(r)
	if !ok {
		return false
	}
	local, hasLocal := r.Get(cgroupfs.MemoryLocalEventOOM)
	n.hasLocal, n.hasGroups = hasLocal, r.Has(cgroupfs.MemoryEventOOMGroupKill)
	if base && !n.read {
		n.read, n.seen, n.settled, n.seenLocal = true, t, t, int64(local)
		return true
	}
	n.read = true
	grown, grownLocal := t.minus(n.seen).positive(), max(int64(local)-n.seenLocal, 0)
	n.seen, n.seenLocal = t, int64(local)
	if grown == (tally{}) && grownLocal == 0 {
		return false
	}
	n.grow(grown, grownLocal, sweep, now)
	if n.parent != nil {
		n.parent.owe(tally{}.minus(grown), sweep)
	}
	return true
}

// grow books what a cgroup counted anew.
func (n *node) grow(by tally, local int64, sweep uint64, now time.Time) {
	if !n.isContainer() {
		n.hits.add(local, sweep)
		by.ooms -= local
		n.owe(by, sweep)
		return
	}
	n.hits.add(by.ooms, sweep)
	if by.kills > 0 || by.groups > 0 {
		if n.since == 0 {
			n.since = sweep
		}
		n.grew, n.grewAt = sweep, now
	}
}

func (n *node) owe(by tally, sweep uint64) {
	if by != (tally{}) {
		n.debt, n.debtAt = n.debt.plus(by), sweep
	}
}

// inherit gives a child that ended what its parent counted and no child did.
func (n *node) inherit(debt tally, sweep uint64) {
	if n.isContainer() {
		n.seen = n.seen.plus(debt)
		n.grow(debt, 0, sweep, n.ended)
		return
	}
	// It may have been this cgroup's own limit, or one below.
	n.hits.add(debt.ooms, sweep)
	n.unsure = n.unsure || debt.ooms > 0
	debt.ooms = 0
	n.owe(debt, sweep)
}
