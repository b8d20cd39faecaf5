// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// settleDebts gives what a cgroup counted and none of its children did to a
// child that ended: its own last counts were not read. It goes from the top of
// the tree down, as a pod may have ended with its containers.
func (k *Keeper) settleDebts(now time.Time) {
	owing := false
	for _, n := range k.nodes {
		owing = owing || n.debt != (tally{})
	}
	for level := cgroupfs.LevelKubepods; owing && level < levelContainer; level++ {
		for _, n := range k.nodes {
			if n.level == level && n.debt != (tally{}) {
				k.settleDebt(n, now)
			}
		}
	}
}

func (k *Keeper) settleDebt(n *node, now time.Time) {
	quiet := k.sweep - n.debtAt
	if n.ended.IsZero() && quiet == 0 {
		return // children are read after their parents
	}
	told := n.debt.atMost(n.told).positive()
	n.debt, n.told = n.debt.minus(told), n.told.minus(told)
	if n.debt.kills <= 0 && n.debt.groups <= 0 {
		if quiet > lateSweeps {
			n.debt = tally{} // limits that were hit without a kill
		}
		return
	}
	if heir := k.heir(n); heir != nil {
		heir.inherit(n.debt.positive(), k.sweep)
		n.debt, k.changed = tally{}, true
		return
	}
	if quiet <= patience {
		return
	}
	debt := n.debt.positive()
	n.debt = tally{}
	processes := max(debt.kills-debt.groups, 1)
	k.unplaced += uint64(processes)
	if n.level != levelPod {
		k.log.Warn("the kernel killed processes of pods that were gone before they were seen", "processes", processes, "level", n.level.String())
		return
	}
	d := death{node: n, at: now, processes: int(processes), scope: snapshot.ScopeUnknown, source: snapshot.OOMFromFiles}
	k.count(&d, now)
}

// heir returns the child that counts which only its parent shows are of most
// likely. It ended about when its parent showed them; of several it is the one
// that events told kills of, then an application's, then one that was gone when
// the counts were seen, but not long before, then the one that used most memory when last read.
func (k *Keeper) heir(of *node) *node {
	var best *node
	likelier := func(a, b *node) bool {
		return cmp.Or(
			cmp.Compare(k.toldBelow(a), k.toldBelow(b)),
			compareBool(a.role != sandbox, b.role != sandbox),
			compareBool(a.endedSweep <= of.debtAt, b.endedSweep <= of.debtAt),
			cmp.Compare(a.endedSweep, b.endedSweep),
			cmp.Compare(a.usage, b.usage),
			cmp.Compare(a.id, b.id),
		) > 0
	}
	for _, n := range k.nodes {
		lately := n.endedSweep+hitSweeps/2 >= of.debtAt
		if n.parent == of && !n.ended.IsZero() && lately && (best == nil || likelier(n, best)) {
			best = n
		}
	}
	return best
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (k *Keeper) toldBelow(n *node) int64 {
	if n.isContainer() {
		return n.told.kills + k.opened(n)
	}
	told := int64(0)
	for _, child := range k.nodes {
		if child.parent == n {
			told += k.toldBelow(child)
		}
	}
	return told
}

// leftover is what a container counted and no event told.
type leftover struct {
	node  *node
	tally tally
	// missed says that there should have been an event: it was not while no
	// agent looked.
	missed bool
}

// reconcile compares what containers counted with what events told, and
// counts what is left.
func (k *Keeper) reconcile(now time.Time) {
	var left []leftover
	waits := false
	for _, n := range k.nodes {
		if !n.isContainer() {
			continue
		}
		if n.told != (tally{}) && k.sweep-n.toldAt > lateSweeps {
			n.told = tally{} // the first victim of a group kill is not always counted twice
		}
		pending := n.seen.minus(n.settled)
		if pending.kills <= 0 && pending.groups <= 0 {
			continue
		}
		if !k.isQuiet(n) {
			waits = true
			continue
		}
		k.changed = true
		explained := pending.atMost(n.told).positive()
		n.told = n.told.minus(explained)
		if rest := pending.minus(explained); rest.kills > 0 {
			left = append(left, leftover{n, rest, k.events && n.since > firstSweep})
		}
		n.settled, n.since = n.seen, 0
	}
	// Where the scope is plain comes first: it uses up what makes others doubt.
	slices.SortFunc(left, func(a, b leftover) int {
		return cmp.Or(cmp.Compare(k.levelsHit(a.node), k.levelsHit(b.node)), cmp.Compare(a.node.id, b.node.id))
	})
	for _, l := range left {
		k.countLeftover(l, now)
	}
	if len(left) > 0 && !waits {
		for _, l := range left {
			for at := l.node; at != nil; at = at.parent {
				at.hits, at.unsure = hits{}, false
			}
		}
	}
}

// isQuiet says whether a container's counts are complete: the last of a group
// kill may come a sweep later, as does what its parents counted.
func (k *Keeper) isQuiet(n *node) bool {
	if k.opened(n) > 0 {
		return false
	}
	need := uint64(1)
	if k.events {
		need++ // the event goes first, but let it be slow
	}
	if !n.ended.IsZero() {
		need--
	}
	return k.sweep-n.grew >= need || k.sweep-n.since >= patience+need
}

// countLeftover counts kills that only files told.
func (k *Keeper) countLeftover(l leftover, now time.Time) {
	n := l.node
	at := n.lastGroup
	ofGroup := l.tally.groups == 0 && at != nil && k.sweep-at.sweep <= lateSweeps
	if ofGroup && !k.losesEvents() {
		// The kernel counts a victim again when it meets it again by another of
		// its threads: find_lock_task_mm in __oom_kill_process.
		return
	}
	if l.missed {
		k.missed += uint64(max(l.tally.kills-l.tally.groups, 1))
	}
	kills, processes := n.killsIn(l.tally)
	if ofGroup { // its victims whose events were lost are no kill of their own
		if s := k.seriesOf(n); s != nil {
			s.processes[at.scope] += uint64(processes)
		}
		return
	}
	const mostRecords = 16 // of one container at once
	for i, scope := range k.infer(n, kills) {
		d := death{node: n, at: cmp.Or(n.grewAt, now), processes: 1, group: l.tally.groups > 0, scope: scope, source: snapshot.OOMFromFiles}
		if i == 0 {
			d.processes += processes - kills
		}
		d.limit, d.countOnly = k.limitAt(n, scope), i >= mostRecords
		k.count(&d, now)
	}
}

// killsIn returns how many OOMs are in what a container counted, and how many
// processes they killed. A group kill counts its first victim twice.
func (n *node) killsIn(t tally) (kills, processes int) {
	const most = 1 << 16 // at once: more is not a count but damage
	t = t.atMost(tally{most, most, most})
	switch {
	case t.groups > 0:
		return int(t.groups), int(max(t.kills-t.groups, t.groups))
	case n.group && !n.hasGroups && t.kills > 1: // before Linux 5.17
		return 1, int(t.kills - 1)
	}
	return int(t.kills), int(t.kills)
}

// levelsHit counts the levels of a container's path whose limits were hit.
func (k *Keeper) levelsHit(n *node) int {
	count := 0
	for at := n; at != nil; at = at.parent {
		if at.hits.recent(k.sweep) > 0 {
			count++
		}
	}
	return count
}

// infer returns the scopes of kills in a container by which limits on its path
// were hit lately.
func (k *Keeper) infer(n *node, kills int) []snapshot.OOMScope {
	scopes := make([]snapshot.OOMScope, kills)
	var hit []*node
	total, complete := int64(0), true
	top := n
	for at := n; at != nil; at = at.parent {
		if recent := at.hits.recent(k.sweep); recent > 0 {
			hit = append(hit, at)
			total += recent
		}
		complete = complete && at.hasLocal
		top = at
	}
	switch {
	case len(hit) == 0 && complete && top.level == cgroupfs.LevelKubepods && isTop(top.cgroup):
		fill(scopes, snapshot.ScopeNode)
	case len(hit) == 1 && (complete || hit[0] == n):
		hit[0].hits.spend(int64(kills))
		fill(scopes, hit[0].scope())
	case len(hit) > 1 && total == int64(kills):
		i := 0
		for _, at := range hit {
			for range at.hits.recent(k.sweep) {
				scopes[i] = at.scope()
				i++
			}
			at.hits = hits{}
		}
	}
	return scopes
}

func (n *node) scope() snapshot.OOMScope {
	if n.unsure {
		return snapshot.ScopeUnknown
	}
	return snapshot.ScopeOf(n.level)
}

func fill(scopes []snapshot.OOMScope, with snapshot.OOMScope) {
	for i := range scopes {
		scopes[i] = with
	}
}

// isTop says whether nothing but the root is above kubepods: else a limit up
// there may have been hit, which looks like the node's own.
func isTop(c *cgroupfs.Cgroup) bool { return c != nil && strings.Count(c.Path, "/") == 1 }

// limitAt returns the limit on a container's path that a scope speaks of, as it
// was when last read.
func (k *Keeper) limitAt(n *node, scope snapshot.OOMScope) *snapshot.OOMLimit {
	for at := n; at != nil; at = at.parent {
		if scope == snapshot.ScopeOf(at.level) && at.cgroup != nil {
			return &snapshot.OOMLimit{CgroupID: at.id, Path: at.cgroup.Path, Bytes: at.limit}
		}
	}
	return nil
}

func amountOf(n uint64) snapshot.Amount {
	return snapshot.Amount{N: int64(min(n, 1<<62)), Known: n != cgroupfs.Unlimited && n > 0}
}

// when is the time of the kill, as well as it is known.
func (d *death) when(now time.Time) time.Time {
	if d.at.IsZero() {
		return now
	}
	return d.at
}
