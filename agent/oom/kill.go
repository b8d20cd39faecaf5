// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Kill is one process that the kernel's OOM killer killed, as its event says.
type Kill struct {
	Time time.Time
	// Incident is the same for all victims of one call of oom_kill_process;
	// 0 if that is not known.
	Incident uint64
	PID      int
	Command  string
	Victim   Place
	// Limit is the cgroup whose limit was hit, if LimitKnown and not Global.
	// LimitBytes and UsageBytes are its own.
	Limit                  Place
	LimitKnown             bool
	Global                 bool // the node's memory ran out
	LimitBytes, UsageBytes uint64
	TriggerPID             int
	TriggerCommand         string

	AnonBytes, FileBytes, ShmemBytes, SwapBytes uint64

	OOMScoreAdj int
	// Group says that memory.oom.group made the kernel kill all of a cgroup.
	Group bool
}

// Place is a cgroup by its id, with itself and its ancestors one, two and
// three levels below kubepods, so that what a container made below itself leads
// to the container; 0 where there is none.
type Place struct {
	ID    uint64
	Below [3]uint64
}

// incidentKey tells the kills apart: one incident is one kill in each container
// that it killed something in.
type incidentKey struct {
	incident uint64
	cgroup   uint64
}

// incident is a kill of which victims may still come.
type incident struct {
	key   incidentKey
	node  *node
	kills []Kill // one for each process
	// last is the sweep in which the newest victim came.
	opened, last uint64
}

// waitingKill is a kill in a cgroup that is not known yet.
type waitingKill struct {
	kill  Kill
	since uint64
}

const (
	// maxVictims bounds the victims in a record; all are counted.
	maxVictims = 32
	// maxOpen bounds the kills that wait: for their cgroup to be known, or for
	// further victims. Beyond it they are counted from the files.
	maxOpen = 4096
	// lateSweeps is for how long a victim may come after its incident, and
	// counters after the event that explains them.
	lateSweeps = 10
	// patience is after how many sweeps something that keeps moving is taken
	// as it is.
	patience = 4
)

// Kill takes an event of the kernel. It may come before the cgroup was
// observed, and after it was gone.
func (k *Keeper) Kill(event Kill) {
	if len(k.waiting)+len(k.open) >= maxOpen {
		k.lostAt = k.sweep
		return
	}
	event.Command, event.TriggerCommand = clean(event.Command), clean(event.TriggerCommand)
	if n := k.find(event.Victim); n != nil && n.isContainer() {
		k.take(n, event)
		return
	}
	k.waiting = append(k.waiting, waitingKill{event, k.sweep})
}

// take adds an event to its incident.
func (k *Keeper) take(n *node, event Kill) {
	key := incidentKey{event.Incident, n.id}
	if event.Incident != 0 {
		if at, ok := k.closed[key]; ok {
			k.late(at, n, event.PID)
			return
		}
	}
	for _, in := range k.open {
		// Without a number, victims of one group kill go by what they share.
		same := in.key == key && (event.Incident != 0 || n.group && in.last == k.sweep)
		if !same {
			continue
		}
		in.last = k.sweep
		// The kernel may meet an exiting process again by another of its threads.
		if !slices.ContainsFunc(in.kills, func(v Kill) bool { return v.PID == event.PID }) {
			in.kills = append(in.kills, event)
		}
		return
	}
	k.open = append(k.open, &incident{key: key, node: n, kills: []Kill{event}, opened: k.sweep, last: k.sweep})
}

// closedIncident is a kill that was counted.
type closedIncident struct {
	sweep uint64
	scope snapshot.OOMScope
	pids  []int // of its victims
}

// late counts a victim that came after its kill was counted.
func (k *Keeper) late(of *closedIncident, n *node, pid int) {
	if slices.Contains(of.pids, pid) {
		return
	}
	of.pids = append(of.pids, pid)
	n.told.kills++
	n.toldAt = k.sweep
	if s := k.seriesOf(n); s != nil {
		s.processes[of.scope]++
	}
	k.changed = true
}

// placeWaiting finds the containers of kills in cgroups that were not known.
func (k *Keeper) placeWaiting() {
	left := k.waiting[:0]
	for _, w := range k.waiting {
		n := k.find(w.kill.Victim)
		tired := k.sweep-w.since >= patience
		switch {
		case n != nil && (n.isContainer() || n.level == levelPod && tired): // of a pod, if no more is known
			k.take(n, w.kill)
		case !tired:
			left = append(left, w)
		default:
			// A service of the node, which is not in the tree of pods.
			k.log.Debug("an OOM kill was in none of the pods", "pid", w.kill.PID, "command", w.kill.Command, "cgroup", w.kill.Victim.ID)
		}
	}
	k.waiting = left
}

// find returns the deepest cgroup at or above a place that is known, or nil.
func (k *Keeper) find(at Place) *node {
	if n := k.nodes[at.ID]; n != nil {
		return n
	}
	for i := len(at.Below) - 1; i >= 0; i-- {
		if n := k.nodes[at.Below[i]]; n != nil {
			return n
		}
	}
	return nil
}

// opened returns how many victims of a container are in open incidents.
func (k *Keeper) opened(n *node) int64 {
	count := int64(0)
	for _, in := range k.open {
		if in.node == n {
			count += int64(len(in.kills))
		}
	}
	return count
}

// closeIncidents counts the kills whose victims are complete.
func (k *Keeper) closeIncidents(now time.Time, all bool) {
	left := k.open[:0]
	for _, in := range k.open {
		if !all && k.sweep == in.last && k.sweep-in.opened < patience {
			left = append(left, in)
			continue
		}
		k.closeIncident(in, now)
	}
	clear(k.open[len(left):])
	k.open = left
	for key, at := range k.closed {
		if k.sweep-at.sweep > lateSweeps {
			at.pids = nil // a container may keep it for its life
			delete(k.closed, key)
		}
	}
}

func (k *Keeper) closeIncident(in *incident, now time.Time) {
	first, n := &in.kills[0], in.node
	n.told.kills += int64(len(in.kills))
	if first.Group { // its first victim is counted twice
		n.told.kills++
		n.told.groups++
	}
	n.toldAt = k.sweep
	d := death{node: n, at: first.Time, processes: len(in.kills), group: first.Group, scope: k.scopeOf(n, first), source: snapshot.OOMFromKernel}
	d.limit = k.limitOf(n, first, d.scope)
	if first.TriggerPID != 0 {
		d.trigger = &snapshot.OOMTask{PID: first.TriggerPID, Command: first.TriggerCommand}
	}
	for i := range in.kills[:min(len(in.kills), maxVictims)] {
		v := &in.kills[i]
		d.victims = append(d.victims, snapshot.OOMVictim{
			PID: v.PID, Command: v.Command, AnonBytes: v.AnonBytes, FileBytes: v.FileBytes, ShmemBytes: v.ShmemBytes,
			SwapBytes: v.SwapBytes, OOMScoreAdj: v.OOMScoreAdj,
		})
	}
	closed := &closedIncident{sweep: k.sweep, scope: d.scope}
	for i := range in.kills {
		closed.pids = append(closed.pids, in.kills[i].PID)
	}
	k.closed[in.key] = closed
	if d.group {
		n.lastGroup = closed
	}
	k.count(&d, now)
}

// scopeOf returns the level whose limit an event says was hit.
func (k *Keeper) scopeOf(n *node, event *Kill) snapshot.OOMScope {
	if event.Global {
		return snapshot.ScopeNode
	}
	if !event.LimitKnown {
		return k.infer(n, 1)[0]
	}
	limit := k.find(event.Limit)
	if limit == nil { // above all pods
		return snapshot.ScopeUnknown
	}
	if deeper := event.Limit.levelsBelow(limit.id); deeper > 0 {
		// That of a cgroup that no sweep ever saw.
		return snapshot.ScopeOf(min(limit.level+cgroupfs.Level(deeper), levelContainer))
	}
	limit.hits.spend(1)
	return snapshot.ScopeOf(limit.level)
}

// levelsBelow returns how many levels of the tree of pods lead from one of a
// place's ancestors down to it: 0 for itself, and from a container on.
func (p Place) levelsBelow(ancestor uint64) int {
	at := slices.Index(p.Below[:], ancestor)
	if at < 0 || p.ID == ancestor {
		return 0
	}
	deeper := 0
	for _, id := range p.Below[at+1:] {
		if id != 0 {
			deeper++
		}
	}
	return deeper
}

func (k *Keeper) limitOf(n *node, event *Kill, scope snapshot.OOMScope) *snapshot.OOMLimit {
	switch {
	case event.Global:
		return nil
	case !event.LimitKnown:
		return k.limitAt(n, scope)
	}
	limit := &snapshot.OOMLimit{CgroupID: event.Limit.ID, Bytes: amountOf(event.LimitBytes), UsageBytes: amountOf(event.UsageBytes)}
	if at := k.nodes[event.Limit.ID]; at != nil && at.cgroup != nil {
		limit.Path = at.cgroup.Path
	}
	return limit
}
