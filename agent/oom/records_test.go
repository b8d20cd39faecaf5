// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var update = flag.Bool("update", false, "write expected outputs anew")

// minute is a flight recorder that knows two moments of everything.
type minute struct{}

func (minute) Append(into []snapshot.Moment, _ uint64, _, to time.Time) []snapshot.Moment {
	for i := range int64(2) {
		into = append(into, snapshot.Moment{Time: to.Add(time.Duration(i-2) * time.Second).Truncate(time.Second), MemoryBytes: snapshot.Amount{N: i << 20, Known: true}})
	}
	return into
}

// TestRecords holds what is recorded and logged of each kind of kill against
// golden files.
func TestRecords(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("p")
	a, b := w.container(pod, "a", true), w.container(pod, "b", false)
	var logged bytes.Buffer
	k := w.start()
	k.cfg.Flight = minute{}
	k.log = slog.New(slog.NewTextHandler(&logged, nil))
	k.SetEvents(true)
	w.sweeps(2)
	w.send(w.oom(b, b, 1))
	w.sweeps(8)
	many := w.oom(pod, a, 40)
	for i := range many {
		many[i].Command = "evil\x1b[31m\xff" + strings.Repeat("x", 100)
	}
	w.send(many)
	w.sweeps(8)
	for _, limit := range []*cgroupfs.Cgroup{w.burstable, w.kubepods, nil} {
		w.send(w.oom(limit, b, 1))
		w.sweeps(8)
	}
	above := w.oom(nil, b, 1)
	above[0].Global, above[0].Limit, above[0].LimitBytes = false, Place{ID: 1}, 1<<30
	w.send(above)
	w.sweeps(8)
	k.SetEvents(false)
	w.oom(pod, a, 3)
	w.sweeps(8)
	w.oom(nil, b, 1)
	w.oom(b, b, 1)
	w.oom(pod, b, 1)
	w.oom(pod, b, 1)
	w.sweeps(8)

	var records bytes.Buffer
	e := json.NewEncoder(&records)
	e.SetIndent("", " ")
	for _, r := range k.records {
		if err := e.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "records.json", records.String())
	golden(t, "records.log", regexp.MustCompile(`time=\S+ `).ReplaceAllString(logged.String(), ""))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs, -update writes it anew (-want +got):\n%s", path, diff)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	w := newWorld(t)
	b := w.container(w.pod("p"), "b", false)
	w.start()
	w.sweeps(2)
	for range 30 {
		w.oom(b, b, 1)
		w.sweeps(3)
	}
	records := w.keeper.records
	if len(records) != 20 || records[0].ID != 30 || records[19].ID != 11 {
		t.Errorf("%d records, from %d to %d; want the newest 20 of 30", len(records), records[0].ID, records[len(records)-1].ID)
	}
	if diff := cmp.Diff(map[string]string{"p/b container": "30/30"}, w.keeper.counted()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// TestLateNames kills a container of which nobody knows the names: they come
// only after its end, or after a restart of the agent.
func TestLateNames(t *testing.T) {
	for name, restart := range map[string]bool{"in time": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pod := w.pod("p")
			a, b := w.container(pod, "a", true), w.container(pod, "b", false)
			late := map[string]*snapshot.ContainerIdentity{"a": w.names["a"], "b": w.names["b"]}
			clear(w.names)
			w.start().SetEvents(true)
			w.sweeps(2)
			w.send(w.oom(pod, b, 1))
			w.send(w.oom(pod, a, 2))
			if !restart {
				w.remove(a)
			}
			w.sweeps(3)
			unnamed := map[string]string{"p/a pod": "1/2", "p/b pod": "1/1"}
			if diff := cmp.Diff(unnamed, w.keeper.counted()); diff != "" {
				t.Fatalf("without names (-want +got):\n%s", diff)
			}
			if restart {
				w.start().SetEvents(true)
			}
			w.names = late
			w.sweeps(3)
			var snap snapshot.Snapshot
			w.keeper.Fill(&snap)
			for _, s := range snap.OOMs {
				if s.Namespace != "shop" {
					t.Errorf("the series %+v has no names yet", s)
				}
			}
			for _, r := range snap.OOMRecords {
				if r.Namespace != "shop" || r.Workload != "web" {
					t.Errorf("the record %+v has no names yet", r)
				}
			}
			if diff := cmp.Diff(unnamed, w.keeper.counted()); diff != "" {
				t.Errorf("with names (-want +got):\n%s", diff)
			}
			if !restart && w.forgets == 0 {
				t.Error("the names of what ended are never given back")
			}
		})
	}
}

// TestSeriesStayAnHour: also those without a kill, and those that restart.
func TestSeriesStayAnHour(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("p")
	a, b := w.container(pod, "a-1", true), w.container(pod, "b-1", false)
	w.start()
	w.sweeps(2)
	w.oom(pod, a, 1)
	w.remove(a)
	w.sweeps(5)
	series := func() string {
		var snap snapshot.Snapshot
		w.keeper.Fill(&snap)
		found := ""
		for _, s := range snap.OOMs {
			found += fmt.Sprintf("%s:%d ", s.Container, s.Kills[snapshot.ScopePod])
		}
		return found
	}
	a = w.container(pod, "a-2", true)
	w.remove(b)
	w.sweep()
	if got := series(); got != "a:1 b:0 " {
		t.Fatalf("series %q", got)
	}
	w.now = w.now.Add(59 * time.Minute)
	w.sweep()
	if got := series(); got != "a:1 b:0 " {
		t.Errorf("after 59 minutes: %q", got)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.sweep()
	w.oom(pod, a, 1)
	w.sweeps(4)
	if got := series(); got != "a:2 " {
		t.Errorf("after 61 minutes: %q", got)
	}
}

func TestSandboxHasNoSeries(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("p")
	pause := w.container(pod, "pause", false)
	k := w.start()
	k.SetEvents(true)
	w.sweep()
	k.nodes[pause.ID].series = nil
	k.Sandbox(pause)
	events := w.oom(pod, pause, 1)
	delete(w.readings, pause.ID)
	w.cgroups = w.cgroups[:len(w.cgroups)-1]
	w.send(events)
	k.Ended(pause, &cgroupfs.Reading{}, w.now)
	w.sweeps(8)
	if got := k.counted(); len(got) != 0 {
		t.Errorf("counted %v for a sandbox", got)
	}
	if len(k.records) != 1 {
		t.Errorf("%d records, want one", len(k.records))
	}
}

func TestNodesOwnServicesAreLeftOut(t *testing.T) {
	w := newWorld(t)
	w.container(w.pod("p"), "a", true)
	k := w.start()
	k.SetEvents(true)
	w.sweep()
	k.Kill(Kill{PID: 7, Command: "sshd", Victim: Place{ID: 3}, LimitKnown: true, Global: true})
	w.sweeps(12)
	if len(k.counted()) != 0 || len(k.records) != 0 || len(k.waiting) != 0 {
		t.Errorf("counted %v, recorded %d, %d wait", k.counted(), len(k.records), len(k.waiting))
	}
}

// TestNestedCgroupsBelongToTheirContainer: the agent does not know what
// containers make below themselves, but the event says what that is below.
func TestNestedCgroupsBelongToTheirContainer(t *testing.T) {
	w := newWorld(t)
	b := w.container(w.pod("p"), "b", false)
	k := w.start()
	k.SetEvents(true)
	w.sweep()
	events := w.oom(b, b, 1)
	events[0].Victim.ID, events[0].Limit.ID = 9999, 9998
	w.send(events)
	w.sweeps(4)
	if diff := cmp.Diff(map[string]string{"p/b container": "1/1"}, k.counted()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// TestVictimThatIsMetAgain has a kernel that meets a process of a group kill
// again by another of its threads, and counts it again, with or without a
// second event.
func TestVictimThatIsMetAgain(t *testing.T) {
	tests := map[string]struct {
		again   bool // two victims were met again
		told    []int
		late    []int // told after the kill was counted
		lost    uint64
		want    string
		missing bool
	}{
		"with an event for each":    {again: true, told: []int{0, 1, 0, 1}, want: "1/2"},
		"without an event":          {again: true, told: []int{0, 1}, want: "1/2"},
		"with late events":          {again: true, told: []int{0, 1}, late: []int{0, 1}, want: "1/2"},
		"though one came late":      {again: true, told: []int{0}, late: []int{1, 1}, want: "1/2"},
		"not, an event was lost":    {told: []int{0}, lost: 1, want: "1/2", missing: true},
		"not, both events are here": {told: []int{0, 1}, lost: 1, want: "1/2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.container(w.pod("p"), "b", true)
			k := w.start()
			k.SetEvents(true)
			w.sweep()
			events := w.oom(b, b, 2)
			if test.again {
				w.event(b, cgroupfs.MemoryLocalEventOOMKill, cgroupfs.MemoryEventOOMKill)
				w.event(b, cgroupfs.MemoryLocalEventOOMKill, cgroupfs.MemoryEventOOMKill)
			}
			for _, i := range test.told {
				w.send(events[i : i+1])
			}
			k.Lost(test.lost)
			w.sweeps(2)
			for _, i := range test.late {
				w.send(events[i : i+1])
			}
			w.sweeps(8)
			if diff := cmp.Diff(map[string]string{"p/b container": test.want}, k.counted()); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if (k.missed > 0) != test.missing {
				t.Errorf("%d kills counted as missed, want some: %t", k.missed, test.missing)
			}
		})
	}
}

func TestSteadySweepAllocatesLittle(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("p")
	for i := range 50 {
		w.container(pod, fmt.Sprint("c", i, "-x"), true)
	}
	w.start()
	w.sweeps(3)
	reading := *w.readings[w.burstable.ID]
	writes := w.counts.writes
	if got := testing.AllocsPerRun(20, func() {
		for _, c := range w.cgroups {
			w.keeper.Observe(c, &reading, w.now)
			if c.Level == cgroupfs.LevelContainer {
				w.keeper.Identify(c, w.names[c.ContainerID])
			}
		}
		w.keeper.Finish(w.now)
	}); got > 2 {
		t.Errorf("%v allocations in a sweep of 50 containers in which nothing happened", got)
	}
	if w.counts.writes != writes {
		t.Error("the state was written though nothing changed")
	}
}

// A container that was gone before any sweep saw it was killed by its own limit
// all the same: the event says how deep in the tree that is.
func TestUnseenContainersLimitIsItsOwn(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("p")
	w.container(pod, "a", true)
	k := w.start()
	k.SetEvents(true)
	w.sweep()
	const unseen = 9999
	at := place(pod)
	at.ID, at.Below[2] = unseen, unseen
	k.Kill(Kill{Time: w.now, Incident: 1, PID: 7, Command: "node", Victim: at, LimitKnown: true, Limit: at, LimitBytes: 16 << 20, TriggerPID: 7, TriggerCommand: "node"})
	w.sweeps(patience + 4)
	if len(k.records) != 1 || k.records[0].Scope != snapshot.ScopeContainer {
		t.Fatalf("records %+v, want one of scope container", k.records)
	}
}
