// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

func crashID(n int) *snapshot.ContainerIdentity {
	return &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "crash", PodUID: podUID, Known: true, Runtime: fmt.Sprint(n)}
}

// row is a life in words: whose, CPU, throttled, peak, limit, end.
func row(l *snapshot.Life) string {
	amount := func(a snapshot.Amount) string {
		if !a.Known {
			return "-"
		}
		return fmt.Sprint(a.N)
	}
	return fmt.Sprintf("%s/%s/%s cpu=%s held=%s peak=%s limit=%s %s", l.Namespace, l.Pod, l.Container,
		amount(l.CPUMicros), amount(l.ThrottledMicros), amount(l.MemoryPeakBytes), amount(l.MemoryLimitBytes), l.End)
}

// rows are the lives of a snapshot, the present ones first.
func rows(s snapshot.Snapshot) []string {
	var all []string
	for i := range s.Containers {
		if l, ok := s.Containers[i].PresentLife(); ok {
			all = append(all, row(&l))
		}
	}
	for _, l := range s.Lives {
		all = append(all, row(l))
	}
	return all
}

func wantRows(t *testing.T, s snapshot.Snapshot, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, rows(s)); diff != "" {
		t.Errorf("lives (-want +got):\n%s", diff)
	}
}

// A container that crashes between two sweeps again and again is a row of
// starts, and so it is for the agent that comes next.
func TestCrashLoopIsARowOfStarts(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	names := map[string]*snapshot.ContainerIdentity{}
	for n := range 100 {
		names[containerID(n)] = crashID(n)
	}
	a, e := w.told(t, names)
	var want []string
	for n := range lives.PerContainer + 4 {
		w.brief(e, pod, n, uint64(1000+n))
		if n >= 4 {
			want = append([]string{fmt.Sprintf("shop/web-0/crash cpu=%d held=- peak=%d limit=- ended", 1000+n, 77<<20)}, want...)
		}
		if n%3 == 0 {
			a.step()
		}
	}
	c := w.container(pod, containerID(99), app)
	w.limit(c, 10_000)
	w.use(c, cgroupfs.CPUUsage, 5)
	w.use(c, cgroupfs.CPUThrottled, 3)
	w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 9)
	w.readings[c.ID].Set(cgroupfs.MemoryMax, cgroupfs.Unlimited)
	e.birth(c)
	a.step()
	w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 4)
	w.readings[c.ID].Set(cgroupfs.MemoryMax, 12)
	s := a.step()
	wantRows(t, s, append([]string{"shop/web-0/crash cpu=5 held=3 peak=9 limit=12 running"}, want...)...)
	for i, l := range s.Lives {
		if id := containerID(lives.PerContainer + 3 - i); l.ContainerID != id || l.PodUID != podUID || l.Started.IsZero() || l.Ended.Before(l.Started) {
			t.Errorf("life %d: %+v, want that of container %s", i, l, id)
		}
	}
	w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 9) // the next one knows but what it sees
	wantRows(t, w.start(t, names).step(), rows(s)...)
}

// How it ended is what the kernel told.
func TestEndsOfLives(t *testing.T) {
	const whose = "shop/web-0/crash "
	grow := func(w *world, c *cgroupfs.Cgroup, by uint64) { w.use(c, cgroupfs.MemoryEventOOMKill, by) }
	for name, test := range map[string]struct {
		play func(w *world, a *agent, e *teller, c *cgroupfs.Cgroup)
		want string
	}{
		"told": {func(_ *world, _ *agent, e *teller, c *cgroupfs.Cgroup) { e.death(c) },
			"cpu=200 held=- peak=9 limit=- ended"},
		"killed, told at the death": {func(w *world, _ *agent, e *teller, c *cgroupfs.Cgroup) { grow(w, c, 2); e.death(c) },
			"cpu=200 held=- peak=9 limit=- oom_killed"},
		"killed, seen by a sweep": {func(w *world, a *agent, e *teller, c *cgroupfs.Cgroup) { grow(w, c, 1); a.step(); a.step(); e.death(c) },
			"cpu=200 held=- peak=9 limit=- oom_killed"},
		"a child was killed long before": {func(w *world, a *agent, e *teller, c *cgroupfs.Cgroup) {
			grow(w, c, 1)
			for range 15 {
				a.step()
			}
			e.death(c)
		}, "cpu=200 held=- peak=9 limit=- ended"},
		"lost": {func(_ *world, _ *agent, e *teller, c *cgroupfs.Cgroup) { e.silent = true; e.death(c) },
			"cpu=100 held=- peak=9 limit=- unseen"},
		"lost, but what came late was not": {func(w *world, a *agent, e *teller, c *cgroupfs.Cgroup) {
			w.remove(c)
			a.step()
			e.late(c.ID, 300, 300, 0, 0)
			a.step()
		}, "cpu=300 held=- peak=9 limit=- ended"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			pod := w.pod(cgroupfs.Burstable, podUID)
			a, e := w.told(t, map[string]*snapshot.ContainerIdentity{containerID(1): crashID(1)})
			c := w.container(pod, containerID(1), app)
			e.birth(c)
			w.use(c, cgroupfs.CPUUsage, 100)
			w.readings[c.ID].Set(cgroupfs.MemoryPeak, 9)
			a.step()
			w.use(c, cgroupfs.CPUUsage, 100)
			test.play(w, a, e, c)
			a.step()
			a.step()
			wantRows(t, a.step(), whose+test.want)
		})
	}
}

// Without events an end is only inferred. A kill that only the pod's counters
// show is the ended container's.
func TestLivesFromTheFilesAlone(t *testing.T) {
	for _, killed := range []bool{false, true} {
		w := newWorld()
		pod := w.pod(cgroupfs.Burstable, podUID)
		a := w.start(t, map[string]*snapshot.ContainerIdentity{containerID(1): crashID(1)})
		c := w.container(pod, containerID(1), app)
		w.use(c, cgroupfs.CPUUsage, 100)
		w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 50)
		a.step()
		w.readings[c.ID].Set(cgroupfs.MemoryCurrent, 40)
		a.step()
		if killed {
			w.use(c, cgroupfs.MemoryEventOOMKill, 1)
		}
		w.remove(c)
		for range 5 {
			a.step()
		}
		want := map[bool]string{true: "oom_killed", false: "unseen"}[killed]
		wantRows(t, a.step(), "shop/web-0/crash cpu=100 held=- peak=50 limit=- "+want)
	}
}

// A birth whose death was lost is a life of which nothing else is known.
func TestLifeWithoutItsDeath(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, map[string]*snapshot.ContainerIdentity{containerID(1): crashID(1)})
	c := w.container(pod, containerID(1), app)
	e.birth(c)
	e.silent = true
	e.death(c)
	for range birthSweeps + 1 {
		a.step()
	}
	s := a.step()
	wantRows(t, s, "shop/web-0/crash cpu=- held=- peak=- limit=- unseen")
	if l := s.Lives[0]; l.Started.IsZero() || !l.Ended.IsZero() {
		t.Errorf("started %v, ended %v; when it ended nobody knows", l.Started, l.Ended)
	}
}

// The same for what ended while no agent looked: only when is known of it, and
// what was counted.
func TestLifeThatEndedWithoutAnAgent(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	names := map[string]*snapshot.ContainerIdentity{containerID(1): crashID(1)}
	c := w.container(pod, containerID(1), app)
	w.use(c, cgroupfs.CPUUsage, 100)
	w.start(t, names).step()
	w.remove(c)
	s := w.start(t, names).step()
	wantRows(t, s, "shop/web-0/crash cpu=100 held=- peak=- limit=- unseen")
	if l := s.Lives[0]; !l.Started.IsZero() || l.Ended.IsZero() {
		t.Errorf("started %v, ended %v", l.Started, l.Ended)
	}
}

// A life gets its name and what was used after its death when they come.
func TestLivesGetNamesAndLateCPUTime(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	w.brief(e, pod, 1, 1000)
	cgroup := w.nextID - 1
	unnamed := fmt.Sprintf("/%s/%s ", podUID, containerID(1))
	wantRows(t, a.step(), unnamed+fmt.Sprintf("cpu=1000 held=- peak=%d limit=- ended", 77<<20))
	e.late(cgroup, 1300, 1300, 0, 50)
	wantRows(t, a.step(), unnamed+fmt.Sprintf("cpu=1300 held=50 peak=%d limit=- ended", 77<<20))
	a.view.names[containerID(1)] = crashID(1)
	s := a.step()
	wantRows(t, s, fmt.Sprintf("shop/web-0/crash cpu=1300 held=50 peak=%d limit=- ended", 77<<20))
	e.late(cgroup, 1400, 1400, 0, 50)
	wantRows(t, a.step(), fmt.Sprintf("shop/web-0/crash cpu=1400 held=50 peak=%d limit=- ended", 77<<20))
	wantRows(t, s, fmt.Sprintf("shop/web-0/crash cpu=1300 held=50 peak=%d limit=- ended", 77<<20))
	wantRows(t, w.start(t, nil).step(), fmt.Sprintf("shop/web-0/crash cpu=1400 held=50 peak=%d limit=- ended", 77<<20))
}

// A sandbox has no life, nor has what goes before it is known what it is.
func TestSandboxesHaveNoLives(t *testing.T) {
	w := newWorld()
	a, e := w.told(t, nil)
	pod := w.pod(cgroupfs.BestEffort, podUID)
	e.birth(pod)
	pause := w.container(pod, containerID(1), process{adj: sandboxAdj, start: time.Minute})
	e.birth(pause)
	a.step()
	e.death(pause)
	wantRows(t, a.step())
}

func TestLivesAreBoundedAndGo(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	for n := range lives.Most + 10 {
		w.brief(e, pod, n, 1)
		if n%1000 == 0 {
			a.drain()
		}
	}
	if got := len(a.step().Lives); got != lives.Most {
		t.Errorf("%d lives are kept, want %d", got, lives.Most)
	}
	if got := a.telemetry.errors["lives_dropped"]; got != 10 {
		t.Errorf("%d lives are counted as dropped, want 10", got)
	}
	w.now = w.now.Add(lives.Retention + time.Second)
	wantRows(t, a.step())
}
