// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"fmt"
	"testing"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// late tells what a cgroup's counters are some time after its death.
func (e *teller) late(id, usage, user, system, throttled uint64) {
	var final cgroupfs.Reading
	final.Set(cgroupfs.CPUUsage, usage)
	final.Set(cgroupfs.CPUUser, user)
	final.Set(cgroupfs.CPUSystem, system)
	final.Set(cgroupfs.CPUThrottled, throttled)
	e.push(events.Late{Time: e.w.now, ID: id, Final: final})
}

// What a container used after its death was told counts, once, whether its
// account is closed by then or not, and whatever becomes of its name.
func TestLateCPUTimeCounts(t *testing.T) {
	for _, when := range []string{"with the death", "after the end", "after the naming"} {
		t.Run(when, func(t *testing.T) {
			w := newWorld()
			pod := w.pod(cgroupfs.Burstable, podUID)
			a, e := w.told(t, nil)
			w.brief(e, pod, 1, 1000)
			id := w.nextID - 1
			name := containerID(1)
			if when != "with the death" {
				a.step()
			}
			if when == "after the naming" {
				name = "crash"
				a.view.names[containerID(1)] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: name, PodUID: podUID, Known: true}
				a.step()
			}
			for range 2 { // two of its tasks
				e.late(id, 1300, 1100, 200, 50)
			}
			e.late(id, 900, 900, 0, 40) // of another moment: no counter falls
			s := a.step()
			got := find(t, s, name)
			for f, want := range map[cgroupfs.Field]uint64{cgroupfs.CPUUsage: 1300, cgroupfs.CPUThrottled: 50} {
				if value(got.Total, f) != fmt.Sprint(want) {
					t.Errorf("%v is %s, want %d", f, value(got.Total, f), want)
				}
			}
			user, _ := got.Total.Get(cgroupfs.CPUUser)
			system, _ := got.Total.Get(cgroupfs.CPUSystem)
			if user+system != 1300 || got.Starts != 1 {
				t.Errorf("user %d and system %d of 1300, %d starts", user, system, got.Starts)
			}
			if got := value(s.Classes[cgroupfs.Burstable].Total, cgroupfs.CPUThrottled); got != "50" {
				t.Errorf("the class was throttled for %s µs, want 50", got)
			}
		})
	}
}

// The same where the death itself was not told, whether the cgroup is still there
// for the agent or not.
func TestLateCPUTimeCountsWithoutDeath(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprint("gone=", gone), func(t *testing.T) {
			w := newWorld()
			a, e := w.told(t, nil)
			c := w.container(w.pod(cgroupfs.Burstable, podUID), containerID(1), app)
			w.use(c, cgroupfs.CPUUsage, 1000)
			e.birth(c)
			a.step()
			w.remove(c)
			if gone {
				a.step()
			}
			e.late(c.ID, 1300, 1300, 0, 50)
			e.late(c.ID, 1400, 1400, 0, 60)
			for range 3 {
				a.step()
			}
			got := find(t, a.step(), containerID(1))
			if value(got.Total, cgroupfs.CPUUsage) != "1400" || value(got.Total, cgroupfs.CPUThrottled) != "60" || got.Starts != 1 {
				t.Errorf("usage %s, throttled %s, %d starts; want 1400, 60 and 1",
					value(got.Total, cgroupfs.CPUUsage), value(got.Total, cgroupfs.CPUThrottled), got.Starts)
			}
		})
	}
}

// A death that comes after what is told late of it is the same one.
func TestDeathAfterLateCountersCountsOnce(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprint("gone=", gone), func(t *testing.T) {
			w := newWorld()
			a, e := w.told(t, nil)
			c := w.container(w.pod(cgroupfs.Burstable, podUID), containerID(1), app)
			w.use(c, cgroupfs.CPUUsage, 1000)
			e.birth(c)
			a.step()
			death := events.Death{Time: w.now, ID: c.ID, ParentID: c.Parent.ID, Name: containerID(1), Final: *w.readings[c.ID]}
			w.remove(c)
			if gone {
				a.step()
			}
			e.late(c.ID, 1300, 1300, 0, 50)
			if !gone {
				a.step() // which sees that it is gone
			}
			e.push(death)
			for range 3 {
				a.step()
			}
			got := find(t, a.step(), containerID(1))
			if value(got.Total, cgroupfs.CPUUsage) != "1300" || got.Starts != 1 {
				t.Errorf("usage %s, %d starts; want 1300 and 1", value(got.Total, cgroupfs.CPUUsage), got.Starts)
			}
		})
	}
}

// The accounts that late counters are waited for are bounded, and go.
func TestLateAccountsAreBounded(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	a, e := w.told(t, nil)
	for n := range maxLate + 10 {
		w.brief(e, pod, n, 1)
		if n%1000 == 0 {
			a.drain()
		}
	}
	a.drain()
	if got := len(a.lifecycle.late); got != maxLate {
		t.Errorf("%d accounts are kept, want %d", got, maxLate)
	}
	if got := a.telemetry.errors["event_incomplete"]; got != 10 {
		t.Errorf("%d are counted as too many, want 10", got)
	}
	e.late(1, 5, 5, 0, 0) // of nobody
	for range lateSweeps + 1 {
		a.step()
	}
	if got := len(a.lifecycle.late); got != 0 {
		t.Errorf("%d accounts are still kept", got)
	}
}

// The scheduler's time of a group, which may be what a death tells, runs ahead of
// what was charged. However old the container, its end adds no more than its CPUs
// could run since it was read.
func TestDeathTellsNoMoreThanCanHaveRun(t *testing.T) {
	const day, second = 86_400_000_000, 1_000_000
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, podUID)
	c := w.container(pod, containerID(1), app)
	w.use(c, cgroupfs.CPUUsage, day)
	a, e := w.told(t, nil)
	name := containerID(1)
	if got := value(find(t, a.step(), name).Total, cgroupfs.CPUUsage); got != fmt.Sprint(day) {
		t.Fatalf("usage %s, want %d", got, day)
	}
	w.readings[c.ID].Set(cgroupfs.CPUUsage, day+100*second)
	e.death(c)
	read := find(t, a.step(), name)
	// The node has 4 CPUs and a tick may be a second late.
	got, _ := read.Total.Get(cgroupfs.CPUUsage)
	if got < day+4*second || got > day+8*second {
		t.Errorf("usage grew by %d µs, want that of 4 CPUs in a second or two", got-day)
	}
	e.late(c.ID, day+100*second, day+100*second, 0, 0)
	read = find(t, a.step(), name)
	late, _ := read.Total.Get(cgroupfs.CPUUsage)
	if late < got || late > got+8*second {
		t.Errorf("usage grew by %d µs after the end", late-got)
	}
}
