// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// world is a made-up kernel that counts OOMs as a real one does. It outlives the
// keepers that look at it.
type world struct {
	t        testing.TB
	cgroups  []*cgroupfs.Cgroup // parents first
	readings map[uint64]*cgroupfs.Reading
	nextID   uint64
	incident uint64
	now      time.Time
	// What the keeper of now and those before it are told.
	names   map[string]*snapshot.ContainerIdentity // by container id
	gone    []*cgroupfs.Cgroup                     // since the last sweep
	last    map[uint64]*cgroupfs.Reading           // of the last sweep
	keeper  *Keeper
	counts  memoryJournal
	log     memoryJournal
	logged  *[]string
	forgets int

	kubepods, burstable *cgroupfs.Cgroup
}

type memoryJournal struct {
	state  []byte
	writes int
	err    error
}

func (j *memoryJournal) Write(fill func([]byte) []byte) error {
	if j.err == nil {
		j.state = fill(nil)
		j.writes++
	}
	return j.err
}

func (j *memoryJournal) Sync() error { return j.err }

var watched = []cgroupfs.Field{
	cgroupfs.MemoryEventOOM, cgroupfs.MemoryEventOOMKill, cgroupfs.MemoryEventOOMGroupKill,
	cgroupfs.MemoryLocalEventOOM, cgroupfs.MemoryLocalEventOOMKill, cgroupfs.MemoryLocalEventOOMGroupKill,
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, readings: map[uint64]*cgroupfs.Reading{}, nextID: 100, now: time.Unix(1_800_000_000, 0).UTC(),
		names: map[string]*snapshot.ContainerIdentity{}, last: map[uint64]*cgroupfs.Reading{}, logged: &[]string{},
	}
	w.kubepods = w.make(nil, cgroupfs.LevelKubepods, "/kubepods", cgroupfs.Guaranteed)
	w.burstable = w.make(w.kubepods, cgroupfs.LevelQoS, "/kubepods/burstable", cgroupfs.Burstable)
	return w
}

func (w *world) make(parent *cgroupfs.Cgroup, level cgroupfs.Level, path string, qos cgroupfs.QoS) *cgroupfs.Cgroup {
	w.nextID++
	c := &cgroupfs.Cgroup{ID: w.nextID, Path: path, Level: level, QoS: qos, Parent: parent}
	if parent != nil {
		c.PodUID = parent.PodUID
	}
	w.cgroups = append(w.cgroups, c)
	w.readings[c.ID] = &cgroupfs.Reading{}
	for _, f := range watched {
		w.readings[c.ID].Set(f, 0)
	}
	w.readings[c.ID].Set(cgroupfs.MemoryMax, 64<<20)
	w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 10<<20)
	return c
}

func (w *world) pod(name string) *cgroupfs.Cgroup {
	c := w.make(w.burstable, cgroupfs.LevelPod, "/kubepods/burstable/pod"+name, cgroupfs.Burstable)
	c.PodUID = name
	return c
}

// container makes a container, named after its id up to the first dash.
func (w *world) container(pod *cgroupfs.Cgroup, id string, group bool) *cgroupfs.Cgroup {
	c := w.make(pod, cgroupfs.LevelContainer, pod.Path+"/"+id, pod.QoS)
	c.ContainerID = id
	w.names[id] = named(pod.PodUID, id)
	w.readings[c.ID].Set(cgroupfs.MemoryOOMGroup, 0)
	if group {
		w.readings[c.ID].Set(cgroupfs.MemoryOOMGroup, 1)
	}
	return c
}

func named(pod, id string) *snapshot.ContainerIdentity {
	name := id
	if i := slices.Index([]byte(id), '-'); i > 0 {
		name = id[:i]
	}
	return &snapshot.ContainerIdentity{Namespace: "shop", Pod: pod, Name: name, PodUID: pod, Known: true, WorkloadKind: "Deployment", Workload: "web"}
}

func (w *world) event(c *cgroupfs.Cgroup, local, hierarchical cgroupfs.Field) {
	w.readings[c.ID].Add(local, 1)
	for at := c; at != nil; at = at.Parent {
		w.readings[at.ID].Add(hierarchical, 1)
	}
}

// oom is what mm/oom_kill.c does when the limit of a cgroup was hit, or the
// node's memory ran out (nil): it counts, kills so many processes of a container
// (all of them, where memory.oom.group says so), and returns the events.
func (w *world) oom(limit, victim *cgroupfs.Cgroup, processes int) []Kill {
	if limit != nil {
		w.event(limit, cgroupfs.MemoryLocalEventOOM, cgroupfs.MemoryEventOOM)
	}
	w.incident++
	kill := func() { w.event(victim, cgroupfs.MemoryLocalEventOOMKill, cgroupfs.MemoryEventOOMKill) }
	kill()
	group, _ := w.readings[victim.ID].Get(cgroupfs.MemoryOOMGroup)
	if group == 1 {
		w.event(victim, cgroupfs.MemoryLocalEventOOMGroupKill, cgroupfs.MemoryEventOOMGroupKill)
		for range processes {
			kill()
		}
	}
	var events []Kill
	for i := range processes {
		event := Kill{
			Time: w.now.Add(200 * time.Millisecond), Incident: w.incident, PID: int(w.incident)*100 + i, Command: "node", Victim: place(victim),
			LimitKnown: true, Global: limit == nil, TriggerPID: 1, TriggerCommand: "java", AnonBytes: 5 << 20, FileBytes: 1 << 20, OOMScoreAdj: 900,
			Group: group == 1,
		}
		if limit != nil {
			event.Limit, event.LimitBytes, event.UsageBytes = place(limit), 64<<20, 64<<20
		}
		events = append(events, event)
	}
	return events
}

// place is where a cgroup is, as an event says it.
func place(c *cgroupfs.Cgroup) Place {
	var path []uint64
	for at := c; at.Parent != nil; at = at.Parent {
		path = append([]uint64{at.ID}, path...)
	}
	p := Place{ID: c.ID}
	copy(p.Below[:], path)
	return p
}

func (w *world) remove(c *cgroupfs.Cgroup) {
	for _, child := range slices.Clone(w.cgroups) {
		if child.Parent == c {
			w.remove(child)
		}
	}
	w.cgroups = slices.DeleteFunc(w.cgroups, func(o *cgroupfs.Cgroup) bool { return o == c })
	delete(w.readings, c.ID)
	w.gone = append(w.gone, c)
}

// start starts a keeper with what an earlier one left.
func (w *world) start() *Keeper {
	w.keeper = New(Config{Records: 20, BootID: "boot", Names: w, Logger: slog.New(slog.DiscardHandler)})
	w.keeper.KeepIn(&w.counts, &w.log)
	if w.log.state != nil {
		if err := w.keeper.LoadRecords(w.log.state); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.counts.state != nil {
		if err := w.keeper.LoadCounts(w.counts.state, w.now); err != nil {
			w.t.Fatal(err)
		}
	}
	w.gone, w.last = nil, map[uint64]*cgroupfs.Reading{}
	return w.keeper
}

// sweep lets a second pass and the keeper see the world.
func (w *world) sweep() {
	w.now = w.now.Add(time.Second)
	k := w.keeper
	slices.SortStableFunc(w.gone, func(a, b *cgroupfs.Cgroup) int { return int(b.Level) - int(a.Level) })
	for _, c := range w.gone {
		if c.Level == cgroupfs.LevelContainer {
			if id := w.names[c.ContainerID]; id != nil {
				k.Identify(c, id)
			}
		}
		last := w.last[c.ID]
		if last == nil {
			last = &cgroupfs.Reading{}
		}
		k.Ended(c, last, w.now)
	}
	w.gone = nil
	for _, c := range w.cgroups {
		reading := *w.readings[c.ID]
		w.last[c.ID] = &reading
		k.Observe(c, &reading, w.now)
		if id := w.names[c.ContainerID]; c.Level == cgroupfs.LevelContainer {
			if id == nil {
				id = &snapshot.ContainerIdentity{Pod: c.PodUID, Name: c.ContainerID, PodUID: c.PodUID}
			}
			k.Identify(c, id)
		}
	}
	k.Finish(w.now)
}

func (w *world) sweeps(n int) {
	for range n {
		w.sweep()
	}
}

func (w *world) send(events []Kill) {
	for _, e := range events {
		w.keeper.Kill(e)
	}
}

// Container and Forget make the world the keeper's Names.
func (w *world) Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity {
	if id := w.names[c.ContainerID]; id != nil {
		return id
	}
	return &snapshot.ContainerIdentity{Pod: c.PodUID, Name: c.ContainerID, PodUID: c.PodUID}
}

func (w *world) Forget(*cgroupfs.Cgroup) { w.forgets++ }

// counted returns the counts that are not 0, as "pod/container scope" to
// "kills/processes".
func (k *Keeper) counted() map[string]string {
	var snap snapshot.Snapshot
	k.Fill(&snap)
	found := map[string]string{}
	for _, s := range snap.OOMs {
		for scope := range snapshot.NumOOMScopes {
			if s.Kills[scope] > 0 || s.Processes[scope] > 0 {
				found[fmt.Sprintf("%s/%s %s", s.Pod, s.Container, scope)] = fmt.Sprintf("%d/%d", s.Kills[scope], s.Processes[scope])
			}
		}
	}
	return found
}
