// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// model plays whatever comes and keeps the truth.
type model struct {
	*world
	rt         *rapid.T
	up         bool
	pods       []*cgroupfs.Cgroup
	containers map[*cgroupfs.Cgroup][]*cgroupfs.Cgroup // by pod
	made       int
	ring       []Kill // events that the keeper did not get yet
	lost       bool   // an event was, so that the scope may be unknown
	truth      map[string][2]int
	scoped     map[string]string
	seen       map[string][2]uint64
}

func (m *model) add(pod *cgroupfs.Cgroup) {
	m.made++
	c := m.container(pod, fmt.Sprintf("%s%d-%d", pod.PodUID, m.made%2, m.made), m.made%2 == 0)
	m.containers[pod] = append(m.containers[pod], c)
}

// step does one thing.
func (m *model) step() {
	pod := rapid.SampledFrom(m.pods).Draw(m.rt, "pod")
	switch rapid.SampledFrom([]string{"add", "kill", "kill", "kill", "kill and remove", "remove", "sweep", "sweep", "restart"}).Draw(m.rt, "what") {
	case "add":
		if len(m.containers[pod]) < 4 {
			m.add(pod)
			m.sweepBoth() // one that was never seen cannot be told by files
		}
	case "kill":
		m.kill(pod)
	case "kill and remove":
		m.sweepBoth()
		if c := m.kill(pod); c != nil {
			m.drop(pod, c)
		}
	case "remove":
		m.sweepBoth()
		if all := m.containers[pod]; len(all) > 1 {
			m.drop(pod, all[0])
		}
	case "sweep":
		m.sweepBoth()
	case "restart":
		m.restart()
	}
}

func (m *model) kill(pod *cgroupfs.Cgroup) *cgroupfs.Cgroup {
	all := m.containers[pod]
	if len(all) == 0 {
		return nil
	}
	c := rapid.SampledFrom(all).Draw(m.rt, "victim")
	limits := map[snapshot.OOMScope]*cgroupfs.Cgroup{
		snapshot.ScopeContainer: c, snapshot.ScopePod: pod, snapshot.ScopeQoS: m.burstable, snapshot.ScopeKubepods: m.kubepods, snapshot.ScopeNode: nil,
	}
	scope := rapid.SampledFrom([]snapshot.OOMScope{snapshot.ScopeContainer, snapshot.ScopePod, snapshot.ScopeQoS, snapshot.ScopeKubepods, snapshot.ScopeNode}).Draw(m.rt, "scope")
	processes := 1
	if group, _ := m.readings[c.ID].Get(cgroupfs.MemoryOOMGroup); group == 1 {
		processes = rapid.IntRange(1, 4).Draw(m.rt, "processes")
	}
	m.ring = append(m.ring, m.oom(limits[scope], c, processes)...)
	name := m.names[c.ContainerID].Name
	m.truth[name] = [2]int{m.truth[name][0] + 1, m.truth[name][1] + processes}
	var n, p int
	at := fmt.Sprintf("%s/%s %s", pod.PodUID, name, scope)
	_, _ = fmt.Sscanf(m.scoped[at], "%d/%d", &n, &p)
	m.scoped[at] = fmt.Sprintf("%d/%d", n+1, p+processes)
	return c
}

// drop removes a container, before its last counts were read.
func (m *model) drop(pod, c *cgroupfs.Cgroup) {
	var left []*cgroupfs.Cgroup
	for _, other := range m.containers[pod] {
		if other != c {
			left = append(left, other)
		}
	}
	m.containers[pod] = left
	m.remove(c)
	m.sweepBoth()
	m.sweepBoth()
}

// sweepBoth gives the keeper some of the events before the sweep, or all, and
// the rest after it.
func (m *model) sweepBoth() {
	n := len(m.ring)
	if n > 0 && rapid.IntRange(0, 3).Draw(m.rt, "slow") == 0 {
		n = rapid.IntRange(0, n).Draw(m.rt, "drained")
	}
	if !m.up {
		n = 0
	}
	late := m.ring[n:]
	m.send(m.ring[:n])
	m.ring = nil
	m.sweep()
	if m.up { // not slower than this
		m.send(late)
	}
	m.check()
}

// restart kills the agent, with what is in its ring.
func (m *model) restart() {
	m.lost = m.lost || len(m.ring) > 0 || len(m.keeper.open) > 0 || len(m.keeper.waiting) > 0
	m.ring = nil
	m.start().SetEvents(m.up)
	m.sweep()
	m.check()
}

// check holds that no counter ever falls.
func (m *model) check() {
	var snap snapshot.Snapshot
	m.keeper.Fill(&snap)
	for _, s := range snap.OOMs {
		for scope := range snapshot.NumOOMScopes {
			at := fmt.Sprint(s.Container, scope)
			if was := m.seen[at]; s.Kills[scope] < was[0] || s.Processes[scope] < was[1] {
				m.rt.Fatalf("%s fell from %v to %d, %d", at, was, s.Kills[scope], s.Processes[scope])
			}
			m.seen[at] = [2]uint64{s.Kills[scope], s.Processes[scope]}
		}
	}
}

// TestWhateverComesIsCountedOnce plays random rows of kills, ends, restarts of
// the agent and slow events, with events and without.
func TestWhateverComesIsCountedOnce(t *testing.T) {
	for _, up := range []bool{false, true} {
		t.Run(fmt.Sprintf("events=%t", up), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				w := newWorld(t)
				m := &model{
					world: w, rt: rt, up: up, containers: map[*cgroupfs.Cgroup][]*cgroupfs.Cgroup{}, truth: map[string][2]int{},
					scoped: map[string]string{}, seen: map[string][2]uint64{},
				}
				w.start().SetEvents(up)
				m.pods = []*cgroupfs.Cgroup{w.pod("p"), w.pod("q")}
				for _, pod := range m.pods {
					m.add(pod)
					m.add(pod)
				}
				m.sweepBoth()
				for range rapid.IntRange(1, 30).Draw(rt, "steps") {
					m.step()
				}
				m.sweepBoth()
				w.sweeps(20)
				if up && !m.lost {
					if diff := cmp.Diff(m.scoped, m.keeper.counted()); diff != "" {
						rt.Fatalf("kills/processes by scope (-want +got):\n%s", diff)
					}
				}
				got := map[string][2]int{}
				for _, s := range m.keeper.book.order {
					for scope := range s.kills {
						at := got[s.key.container]
						got[s.key.container] = [2]int{at[0] + int(s.kills[scope]), at[1] + int(s.processes[scope])}
					}
				}
				for name, n := range got {
					if n == [2]int{} {
						delete(got, name)
					}
				}
				if diff := cmp.Diff(m.truth, got); diff != "" {
					rt.Fatalf("kills and processes (-want +got):\n%s", diff)
				}
			})
		})
	}
}
