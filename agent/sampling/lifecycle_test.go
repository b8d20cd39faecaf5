// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"context"
	"fmt"
	"path"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// teller tells events as the programs do.
type teller struct {
	w       *world
	queue   []any
	lost    uint64
	wake    chan struct{}
	aimed   uint64
	silent  bool // events are lost
	drained int
	kills   events.Tally
}

func (e *teller) Drain(to events.Handler) int {
	e.drained++
	queue := e.queue
	e.queue = nil
	for _, event := range queue {
		switch event := event.(type) {
		case events.Birth:
			to.OnBirth(&event)
		case events.Death:
			to.OnDeath(&event)
		case events.Late:
			to.OnLate(&event)
		case events.Kill:
			to.OnKill(&event)
		}
	}
	return len(queue)
}

func (e *teller) Wake() <-chan struct{}       { return e.wake }
func (e *teller) SetKubepods(id uint64) error { e.aimed = id; return nil }
func (e *teller) Tallies() (a, b events.Tally) {
	return events.Tally{Lost: e.lost}, e.kills
}
func (e *teller) Status() []bpf.Status { return []bpf.Status{{Program: events.Lifecycle, How: "here"}} }
func (e *teller) push(event any) {
	if e.silent {
		e.lost++
		return
	}
	e.queue = append(e.queue, event)
}

func (e *teller) birth(c *cgroupfs.Cgroup) {
	e.push(events.Birth{Time: e.w.now, ID: c.ID, ParentID: c.Parent.ID, Name: path.Base(c.Path)})
}

// death takes the cgroup away, as the kernel does: the last counters come with
// the event.
func (e *teller) death(c *cgroupfs.Cgroup) {
	final := *e.w.readings[c.ID]
	final.Unset(cgroupfs.MemoryCurrent)
	e.w.remove(c)
	e.push(events.Death{Time: e.w.now, ID: c.ID, ParentID: c.Parent.ID, Name: path.Base(c.Path), Final: final})
}

const podUID = "11111111-2222-3333-4444-555555555555"

func containerID(n int) string { return fmt.Sprintf("%064x", n) }

// told starts an agent on a world that tells events.
func (w *world) told(t testing.TB, names map[string]*snapshot.ContainerIdentity) (*agent, *teller) {
	t.Helper()
	a, e := w.start(t, names), &teller{w: w, wake: make(chan struct{}, 1)}
	a.cfg.Events = e
	a.lifecycle.init(e)
	a.step()
	if e.aimed != w.cgroups[0].ID {
		t.Fatalf("the programs look at cgroup %d, want kubepods' %d", e.aimed, w.cgroups[0].ID)
	}
	return a, e
}

// brief lives between two sweeps.
func (w *world) brief(e *teller, pod *cgroupfs.Cgroup, n int, cpu uint64) {
	c := w.container(pod, containerID(n), app)
	e.birth(c)
	w.limit(c, 10_000)
	w.use(c, cgroupfs.CPUUsage, cpu)
	w.use(c, cgroupfs.CPUThrottledPeriods, 2)
	w.readings[c.ID].Set(cgroupfs.MemoryPeak, 77<<20)
	w.readings[c.ID].Set(cgroupfs.MemoryOOMGroup, 1)
	e.death(c)
}

func TestContainersBetweenTwoSweepsCount(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	names := map[string]*snapshot.ContainerIdentity{}
	for n := range 60 {
		names[containerID(n)] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "crash", PodUID: podUID, Known: true}
	}
	a, e := w.told(t, names)
	for n := range 60 {
		w.brief(e, pod, n, 1000)
		if n%20 != 19 {
			continue
		}
		got := find(t, a.step(), "crash")
		if got.Starts != uint64(n+1) || value(got.Total, cgroupfs.CPUUsage) != fmt.Sprint(1000*(n+1)) || value(got.Total, cgroupfs.CPUThrottledPeriods) != fmt.Sprint(2*(n+1)) {
			t.Fatalf("after %d lives: %d starts, %s µs, %s throttled periods", n+1, got.Starts, value(got.Total, cgroupfs.CPUUsage), value(got.Total, cgroupfs.CPUThrottledPeriods))
		}
		if got.Ended.IsZero() || got.MemoryPeakBytes.N != 77<<20 || got.Current.Len() != 0 {
			t.Errorf("ended %v, memory peak %+v, %d gauges", got.Ended, got.MemoryPeakBytes, got.Current.Len())
		}
	}
	s := a.step()
	if got := value(s.Classes[cgroupfs.Burstable].Total, cgroupfs.CPUThrottledPeriods); got != "120" {
		t.Errorf("the class has %s throttled periods, want 120", got)
	}
	if len(a.members) != len(w.cgroups) || len(a.lifecycle.births) != 0 || len(a.lifecycle.leaving) != 0 {
		t.Errorf("%d members of %d cgroups, %d births, %d leaving", len(a.members), len(w.cgroups), len(a.lifecycle.births), len(a.lifecycle.leaving))
	}
}

// Names may come when the container is gone already.
func TestNamesThatComeAfterTheEnd(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	for n := range 5 {
		w.brief(e, pod, n, 100)
		s := a.step()
		if got := find(t, s, containerID(n)); got.Starts != 1 || got.Identity.Known {
			t.Fatalf("life %d: %d starts, named %v", n, got.Starts, got.Identity.Known)
		}
		a.view.names[containerID(n)] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "crash", PodUID: podUID, Known: true}
		s = a.step()
		got := find(t, s, "crash")
		if len(s.Containers) != 1 || got.Starts != uint64(n+1) || value(got.Total, cgroupfs.CPUUsage) != fmt.Sprint(100*(n+1)) || got.Ended.IsZero() {
			t.Fatalf("life %d: %d containers, %d starts, %s µs, ended %v", n, len(s.Containers), got.Starts, value(got.Total, cgroupfs.CPUUsage), got.Ended)
		}
	}
	w.brief(e, pod, 9, 1)
	for range 62 {
		a.step()
	}
	if len(a.nameless) != 0 || a.cfg.Book.Stats().Ended != 2 {
		t.Errorf("%d wait for names after a minute, %d ended series", len(a.nameless), a.cfg.Book.Stats().Ended)
	}
}

// A whole pod can come and go between two sweeps. Its sandbox has no series.
func TestPodsBetweenTwoSweepsCount(t *testing.T) {
	w := newWorld()
	a, e := w.told(t, nil)
	pod := w.pod(cgroupfs.BestEffort, podUID)
	e.birth(pod)
	pause := w.container(pod, containerID(1), app)
	e.birth(pause)
	w.brief(e, pod, 2, 500)
	w.use(pause, cgroupfs.CPUUsage, 30)
	e.death(pause)
	e.death(pod)
	s := a.step()
	got := find(t, s, containerID(2))
	if len(s.Containers) != 1 || got.Starts != 1 || value(got.Total, cgroupfs.CPUUsage) != "500" || got.Identity.PodUID != podUID {
		t.Errorf("containers %+v, want one with 500 µs", s.Containers)
	}
	if len(s.Pods) != 1 || value(s.Pods[0].Total, cgroupfs.CPUUsage) != "530" || s.Pods[0].Ended.IsZero() {
		t.Errorf("pods %+v, want an ended one with 530 µs", s.Pods)
	}
}

// The last counters of a container that the sweeps saw are those at its death.
func TestTheEndOfALongLifeCounts(t *testing.T) {
	for _, told := range []string{"with the end", "after the end", "never"} {
		t.Run(told, func(t *testing.T) {
			w := newWorld()
			pod := w.pod(cgroupfs.Burstable, podUID)
			c := w.container(pod, containerID(1), app)
			w.limit(c, 10_000)
			a, e := w.told(t, nil)
			w.use(c, cgroupfs.CPUUsage, 100)
			w.use(c, cgroupfs.CPUThrottledPeriods, 1)
			a.step()
			w.use(c, cgroupfs.CPUUsage, 900)
			w.use(c, cgroupfs.CPUThrottledPeriods, 4)
			e.silent = told == "never"
			e.death(c)
			late := e.queue
			if told == "after the end" {
				e.queue = nil
				a.between(w.now)
				e.queue = late
			}
			s := a.step()
			got := find(t, s, containerID(1))
			want := map[bool]string{true: "1000", false: "100"}[told != "never"]
			if value(got.Total, cgroupfs.CPUUsage) != want || got.Starts != 1 {
				t.Errorf("usage %s, want %s; %d starts", value(got.Total, cgroupfs.CPUUsage), want, got.Starts)
			}
			if want := map[bool]string{true: "5", false: "1"}[told != "never"]; value(s.Classes[cgroupfs.Burstable].Total, cgroupfs.CPUThrottledPeriods) != want {
				t.Errorf("the class has %s throttled periods, want %s", value(s.Classes[cgroupfs.Burstable].Total, cgroupfs.CPUThrottledPeriods), want)
			}
			if ended := find(t, a.step(), containerID(1)).Ended; ended.IsZero() {
				t.Error("it has not ended")
			}
			if got := a.telemetry.lost[events.Lifecycle]; (got == 1) != (told == "never") {
				t.Errorf("%d events counted as lost", got)
			}
			if len(a.lifecycle.leaving) != 0 {
				t.Error("it is still waited for")
			}
		})
	}
}

// What comes too late, twice or in part is counted once.
func TestLostEventsCountStartsOnce(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	// A birth without its death.
	c := w.container(pod, containerID(1), app)
	w.readings[c.ID].Set(cgroupfs.MemoryOOMGroup, 1)
	e.birth(c)
	e.silent = true
	late := events.Death{Time: w.now, ID: c.ID, ParentID: pod.ID, Name: containerID(1), Final: *w.readings[c.ID]}
	e.death(c)
	// A death without its birth.
	d := w.container(pod, containerID(2), app)
	e.silent = true
	e.birth(d)
	e.silent = false
	w.use(d, cgroupfs.CPUUsage, 50)
	e.death(d)
	for range 2 * birthSweeps {
		a.step()
	}
	e.push(late)
	s := a.step()
	for n, want := range map[int]string{1: "absent", 2: "50"} {
		if got := find(t, s, containerID(n)); got.Starts != 1 || value(got.Total, cgroupfs.CPUUsage) != want {
			t.Errorf("container %d: %d starts, usage %s, want 1 and %s", n, got.Starts, value(got.Total, cgroupfs.CPUUsage), want)
		}
	}
	if got := a.telemetry.lost[events.Lifecycle]; got != 2 {
		t.Errorf("%d events counted as lost, want 2", got)
	}
}

// Cgroups that containers make for themselves are nobody's start.
func TestNestedCgroupsAreNoContainers(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Guaranteed, podUID)
	c := w.container(pod, containerID(1), app)
	a, e := w.told(t, nil)
	nested := w.make(c, cgroupfs.LevelContainer, c.Path+"/"+containerID(2), cgroupfs.Guaranteed)
	e.birth(nested)
	e.death(nested)
	helper := w.make(pod, cgroupfs.LevelContainer, pod.Path+"/crio-conmon-"+containerID(3), cgroupfs.Guaranteed)
	e.birth(helper)
	e.death(helper)
	for range birthSweeps + 1 {
		if s := a.step(); len(s.Containers) != 1 {
			t.Fatalf("%d containers, want one", len(s.Containers))
		}
	}
	if len(a.lifecycle.births) != 0 {
		t.Errorf("%d births are kept", len(a.lifecycle.births))
	}
}

func TestBirthsAreBounded(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	for n := range maxBirths + 100 {
		e.push(events.Birth{ID: uint64(10_000 + n), ParentID: pod.ID, Name: "x", Time: w.now})
	}
	a.drain()
	if got := len(a.lifecycle.births); got != maxBirths {
		t.Errorf("%d births are kept, want %d", got, maxBirths)
	}
	if got := a.telemetry.errors["event_incomplete"]; got != 100 {
		t.Errorf("%d births that were not kept are counted, want 100", got)
	}
}

// Of a cgroup whose birth was lost nobody knows for how long it ran.
func TestDeathWithoutBirthCountsWhole(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	c := w.container(pod, containerID(1), app)
	w.use(c, cgroupfs.CPUUsage, 900_000_000)
	w.readings[c.ID].Set(cgroupfs.MemoryOOMGroup, 1)
	e.death(c)
	if got := find(t, a.step(), containerID(1)); value(got.Total, cgroupfs.CPUUsage) != "900000000" || got.Starts != 1 {
		t.Errorf("usage %s, %d starts", value(got.Total, cgroupfs.CPUUsage), got.Starts)
	}
}

// sink keeps the kills that it was told.
type sink struct {
	kills []events.Kill
	lost  uint64
}

func (s *sink) Lost(kills uint64) { s.lost = kills }

func (s *sink) Killed(k *events.Kill) { s.kills = append(s.kills, *k) }

func TestKillsArePassedOnAndWakesHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.now = time.Now()
		pod := w.pod(cgroupfs.Burstable, podUID)
		a, kills := w.start(t, nil), &sink{}
		e := &teller{w: w, wake: make(chan struct{}, 1), kills: events.Tally{Lost: 3, Failed: 1}}
		a.cfg.Events, a.cfg.KillSink = e, kills
		a.lifecycle.init(e)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		w.brief(e, pod, 1, 10)
		e.queue = slices.Insert(e.queue, 1, any(events.Kill{PID: 7}))
		e.wake <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if len(kills.kills) != 1 || kills.kills[0].PID != 7 || kills.lost != 4 {
			t.Errorf("kills %+v, %d lost; want that of process 7, and 4", kills.kills, kills.lost)
		}
		if got := a.counts.sweeps; got != 1 || len(e.queue) != 0 {
			t.Errorf("%d sweeps, %d events left; want one and none", got, len(e.queue))
		}
		// What comes last of all is taken over, too.
		w.brief(e, pod, 2, 10)
		drained := e.drained
		cancel()
		if err := <-done; err != nil || e.drained == drained || len(e.queue) != 0 {
			t.Errorf("end: %v, %d events left", err, len(e.queue))
		}
	})
}
