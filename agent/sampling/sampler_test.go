// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var app = process{adj: 900, score: 700, start: time.Minute}

func TestRestartedContainerGoesOnUnderItsName(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, "uid-1")
	names := map[string]*snapshot.ContainerIdentity{}
	for i := range 20 {
		names[fmt.Sprint("id-", i)] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "web", Known: true}
	}
	a := w.start(t, names)
	for i := range 20 {
		c := w.container(pod, fmt.Sprint("id-", i), app)
		w.limit(c, 10_000)
		w.use(c, cgroupfs.CPUUsage, 1000)
		w.use(c, cgroupfs.CPUThrottledPeriods, 7)
		got := find(t, a.step(), "web")
		if got.Starts != uint64(i+1) || value(got.Total, cgroupfs.CPUUsage) != fmt.Sprint(1000*(i+1)) || value(got.Current, cgroupfs.CPUUsage) != "1000" {
			t.Fatalf("incarnation %d: starts %d, total %s, current %s", i, got.Starts, value(got.Total, cgroupfs.CPUUsage), value(got.Current, cgroupfs.CPUUsage))
		}
		w.remove(c)
		if i%2 == 0 { // now and then a sweep finds nothing living
			if got := find(t, a.step(), "web"); got.Ended.IsZero() || got.Current.Len() != 0 {
				t.Fatalf("after end %d: ended %v, %d gauges", i, got.Ended, got.Current.Len())
			}
		}
	}
	s := a.step()
	for _, r := range []cgroupfs.Reading{find(t, s, "web").Total, s.Classes[cgroupfs.Burstable].Total, s.Kubepods.Total} {
		if value(r, cgroupfs.CPUUsage) != "20000" || value(r, cgroupfs.CPUThrottledPeriods) != "140" {
			t.Errorf("usage %s, throttled periods %s; want 20000, 140", value(r, cgroupfs.CPUUsage), value(r, cgroupfs.CPUThrottledPeriods))
		}
	}
}

func TestGuaranteedIsWhatTheSlicesAreNot(t *testing.T) {
	w := newWorld()
	a := w.start(t, nil)
	guaranteed, burstable := w.pod(cgroupfs.Guaranteed, "uid-g"), w.pod(cgroupfs.Burstable, "uid-b")
	w.use(guaranteed, cgroupfs.CPUUsage, 500)
	w.use(burstable, cgroupfs.CPUUsage, 300)
	w.readings[guaranteed.ID].Set(cgroupfs.MemoryCurrent, 64)
	w.readings[guaranteed.ID].Set(cgroupfs.MemoryMax, 128)
	w.limit(guaranteed, 20_000)
	class := func() snapshot.Slice { return a.step().Classes[cgroupfs.Guaranteed] }
	got := class()
	if value(got.Total, cgroupfs.CPUUsage) != "500" || value(got.Current, cgroupfs.MemoryCurrent) != "64" || value(got.Current, cgroupfs.MemoryMax) != "128" {
		t.Errorf("usage %s, memory %s of %s", value(got.Total, cgroupfs.CPUUsage), value(got.Current, cgroupfs.MemoryCurrent), value(got.Current, cgroupfs.MemoryMax))
	}
	if value(got.Total, cgroupfs.CPUPressureSome) != "absent" || value(got.Total, cgroupfs.CPUPeriods) != "absent" {
		t.Error("pressure is not additive, and no container has a quota")
	}

	// A second pod without a limit: the class has none either.
	other := w.pod(cgroupfs.Guaranteed, "uid-g2")
	w.readings[other.ID].Set(cgroupfs.MemoryMax, cgroupfs.Unlimited)
	w.limit(other, 30_000)
	got = class()
	if quota, _ := got.Current.Get(cgroupfs.CPUQuota); quota != 50_000 {
		t.Errorf("quota %d, want the sum of 50000", quota)
	}
	if limit, _ := got.Current.Get(cgroupfs.MemoryMax); limit != cgroupfs.Unlimited {
		t.Errorf("memory limit %d, want unlimited", limit)
	}

	// A pod that goes takes nothing back.
	w.remove(guaranteed)
	if got := class(); value(got.Total, cgroupfs.CPUUsage) != "500" {
		t.Errorf("usage %s after the pod went", value(got.Total, cgroupfs.CPUUsage))
	}
	// The slices are read after kubepods: what they used in between makes the
	// difference late for a moment.
	w.readings[w.cgroups[cgroupfs.Burstable].ID].Add(cgroupfs.CPUUsage, 50)
	if got := class(); value(got.Total, cgroupfs.CPUUsage) != "500" {
		t.Errorf("usage %s fell", value(got.Total, cgroupfs.CPUUsage))
	}
}

func TestEndedContainerStaysForTheRetention(t *testing.T) {
	w := newWorld()
	c := w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", app)
	w.use(c, cgroupfs.CPUUsage, 5)
	a := w.start(t, nil)
	a.step()
	w.remove(c)
	ended := a.step()
	for range 299 {
		ended = a.step()
	}
	if got := find(t, ended, "id-1"); value(got.Total, cgroupfs.CPUUsage) != "5" {
		t.Errorf("total %s", value(got.Total, cgroupfs.CPUUsage))
	}
	if s := a.step(); len(s.Containers) != 0 || len(a.tracks) != 1 {
		t.Errorf("%d containers, %d tracks after the retention; want 0 and the pod's", len(s.Containers), len(a.tracks))
	}
}

func TestLateNameRenamesOnce(t *testing.T) {
	w := newWorld()
	c := w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "0123456789ab", app)
	w.use(c, cgroupfs.CPUUsage, 5)
	a := w.start(t, nil)
	before := find(t, a.step(), "0123456789ab")
	a.view.names["0123456789ab"] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "web", Known: true}
	w.use(c, cgroupfs.CPUUsage, 5)
	s := a.step()
	after := find(t, s, "web")
	if len(s.Containers) != 1 || after.Series == before.Series || after.Starts != 1 || value(after.Total, cgroupfs.CPUUsage) != "10" {
		t.Errorf("%d containers; series %d then %d, starts %d, total %s", len(s.Containers), before.Series, after.Series, after.Starts, value(after.Total, cgroupfs.CPUUsage))
	}
	if !after.CPUPeakMicros.Known && !after.MemoryPeakBytes.Known {
		t.Error("the peaks were lost with the rename")
	}

	// A new agent that cannot ask anybody still knows the name.
	s = w.start(t, nil).step()
	if got := find(t, s, "web"); got.Identity.Namespace != "shop" || got.Starts != 1 {
		t.Errorf("after a restart: %+v, starts %d", got.Identity, got.Starts)
	}
	if s.Unidentified != 1 {
		t.Errorf("%d containers count as unidentified as long as nobody can be asked, want 1", s.Unidentified)
	}
	s = w.start(t, a.view.names).step()
	if s.Unidentified != 0 {
		t.Errorf("%d containers count as unidentified although all have their names", s.Unidentified)
	}
}

func TestPeaksOfTheTrailingMinute(t *testing.T) {
	w := newWorld()
	c := w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", app)
	memory := func(current, peak uint64) {
		w.readings[c.ID].Set(cgroupfs.MemoryCurrent, current)
		w.readings[c.ID].Set(cgroupfs.MemoryPeak, peak)
	}
	a := w.start(t, nil)
	peak := func() int64 { return find(t, a.step(), "id-1").MemoryPeakBytes.N }
	memory(10, 1000) // the peak is from before the agent
	if got := peak(); got != 10 {
		t.Errorf("peak %d, want the current 10", got)
	}
	memory(10, 2000) // it rose between two sweeps
	for i := range 60 {
		if got := peak(); got != 2000 {
			t.Fatalf("peak %d after %d s, want 2000", got, i)
		}
	}
	if got := peak(); got != 10 {
		t.Errorf("peak %d after the minute, want 10", got)
	}
}

func TestStateDirectoryThatFails(t *testing.T) {
	w := newWorld()
	w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", app)
	a := w.start(t, nil)
	w.journal.err = errors.New("no space left on device")
	s := a.step()
	if len(s.Containers) != 1 || s.Self.StateWriteErrors != 1 {
		t.Errorf("%d containers, %d write errors; want both 1", len(s.Containers), s.Self.StateWriteErrors)
	}
	state := func(s snapshot.Snapshot) snapshot.Source {
		for _, source := range s.Sources {
			if source.Name == sourceState {
				return source
			}
		}
		return snapshot.Source{}
	}
	if got := state(s); got.Up || got.Reason != "no space left on device" {
		t.Errorf("source %+v", got)
	}
	w.journal.err = nil
	if got := state(a.step()); !got.Up || got.Reason != "" {
		t.Errorf("source %+v after it works again", got)
	}
}

func TestRunSweepsAtEachTickAndSavesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", app)
		a := w.start(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if got := a.counts.sweeps; got != 3 {
			t.Errorf("%d sweeps after 2.5 s, want 3", got)
		}
		w.use(c, cgroupfs.CPUUsage, 9)
		w.container(w.cgroups[3], "id-2", app)
		w.wake <- struct{}{} // seen before the next tick
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if len(a.members) != len(w.cgroups) {
			t.Errorf("%d members of %d cgroups after a wake", len(a.members), len(w.cgroups))
		}
		writes, syncs := a.counts.stateWrites, w.journal.syncs
		cancel()
		if err := <-done; err != nil || a.counts.stateWrites != writes+1 || w.journal.syncs != syncs+1 {
			t.Errorf("end: %v, %d writes and %d syncs more", err, a.counts.stateWrites-writes, w.journal.syncs-syncs)
		}
	})
}

// One directory that cannot be listed must not hide what changed in others: the
// tree tells each change once.
func TestChangesBesideAnErrorAreTaken(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.BestEffort, "uid-1")
	a := w.start(t, nil)
	a.step()
	a.view.err = errors.New("list one directory: permission denied")
	w.container(pod, "id-1", app)
	a.between(w.now)
	a.view.err = nil
	find(t, a.step(), "id-1")
	if a.telemetry.errors["tree"] == 0 {
		t.Error("the error was not counted")
	}
}

// TestNothingFallsAndNothingIsLost plays random lives of a node and of its
// agents, killed at any point, against plain sums.
func TestNothingFallsAndNothingIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		pods := []*cgroupfs.Cgroup{w.pod(cgroupfs.Guaranteed, "g"), w.pod(cgroupfs.Burstable, "b"), w.pod(cgroupfs.BestEffort, "e")}
		living := map[int]*cgroupfs.Cgroup{}
		names := map[string]*snapshot.ContainerIdentity{}
		truth, seen := map[int]uint64{}, map[string]uint64{}
		a := w.start(t, names)
		for step := range rapid.IntRange(5, 40).Draw(rt, "steps") {
			p := rapid.IntRange(0, 2).Draw(rt, "pod")
			if living[p] == nil {
				id := fmt.Sprint("id-", step)
				names[id] = &snapshot.ContainerIdentity{Namespace: "ns", Pod: pods[p].PodUID, Name: fmt.Sprint("c", p), PodUID: pods[p].PodUID, Known: true}
				living[p] = w.container(pods[p], id, app)
				w.limit(living[p], 1000)
				if rapid.Bool().Draw(rt, "named") {
					a.view.names[id] = names[id]
				}
			}
			for q := range 3 {
				if c := living[q]; c != nil {
					amount := rapid.Uint64Range(0, 1000).Draw(rt, "use")
					w.use(c, cgroupfs.CPUUsage, amount)
					w.use(c, cgroupfs.CPUThrottledPeriods, amount)
					truth[q] += amount
				}
			}
			// names come late at times
			maps.Copy(a.view.names, names)
			s := a.step()
			checkNothingFell(rt, s, seen)
			checkTotals(rt, s, truth)
			if rapid.Bool().Draw(rt, "kill container") && living[p] != nil {
				w.remove(living[p])
				living[p] = nil
			}
			if rapid.IntRange(0, 3).Draw(rt, "kill agent") == 0 {
				a = w.start(t, nil)
			}
		}
	})
}

func checkNothingFell(t *rapid.T, s snapshot.Snapshot, seen map[string]uint64) {
	note := func(what string, r cgroupfs.Reading) {
		for _, f := range []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.CPUThrottledPeriods} {
			v, ok := r.Get(f)
			key := what + " " + f.String()
			if !ok && seen[key] > 0 || v < seen[key] {
				t.Fatalf("%s fell from %d to %d", key, seen[key], v)
			}
			seen[key] = v
		}
	}
	for _, c := range s.Containers {
		if c.Identity.Known {
			note(c.Identity.Name, c.Total)
		}
	}
	for q := range s.Classes {
		note(cgroupfs.QoS(q).String(), s.Classes[q].Total)
	}
	note("kubepods", s.Kubepods.Total)
}

func checkTotals(t *rapid.T, s snapshot.Snapshot, truth map[int]uint64) {
	sum := uint64(0)
	for q, want := range truth {
		sum += want
		for _, f := range []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.CPUThrottledPeriods} {
			if got, _ := s.Classes[q].Total.Get(f); got != want {
				t.Fatalf("class %d: %s is %d, want %d", q, f, got, want)
			}
		}
	}
	if got, _ := s.Kubepods.Total.Get(cgroupfs.CPUThrottledPeriods); got != sum {
		t.Fatalf("kubepods: %d throttled periods, want %d", got, sum)
	}
	for _, c := range s.Containers {
		var q int
		if n, _ := fmt.Sscanf(c.Identity.Name, "c%d", &q); n == 1 {
			if got, _ := c.Total.Get(cgroupfs.CPUUsage); got != truth[q] {
				t.Fatalf("%s: usage %d, want %d", c.Identity.Name, got, truth[q])
			}
		}
	}
}

// A pod that was deleted by force may still be there beside its successor of the
// same name. Who the series is, is the successor, whatever order the tree has.
func TestSuccessorsIdentityWins(t *testing.T) {
	for _, order := range []string{"older first", "newer first"} {
		t.Run(order, func(t *testing.T) {
			w := newWorld()
			older := w.container(w.pod(cgroupfs.Burstable, "uid-old"), "id-old", app)
			newer := w.container(w.pod(cgroupfs.Burstable, "uid-new"), "id-new", app)
			names := map[string]*snapshot.ContainerIdentity{}
			for _, c := range []*cgroupfs.Cgroup{older, newer} {
				names[c.ContainerID] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "db-0", Name: "db", PodUID: c.PodUID, Image: c.ContainerID, Known: true}
			}
			if order == "newer first" {
				i, k := slices.Index(w.cgroups, older), slices.Index(w.cgroups, newer)
				w.cgroups[i], w.cgroups[k] = newer, older
			}
			a := w.start(t, names)
			for _, pod := range []*cgroupfs.Cgroup{older.Parent, newer.Parent} {
				a.view.pods[pod.PodUID] = &snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: pod.PodUID, Known: true}
			}
			a.step()
			s := a.step()
			if got := find(t, s, "db"); got.Identity.PodUID != "uid-new" || got.Identity.Image != "id-new" || got.ContainerID != "id-new" {
				t.Errorf("the container is %+v with id %s", got.Identity, got.ContainerID)
			}
			for _, p := range s.Pods {
				if p.Identity.UID != "uid-new" {
					t.Errorf("the pod is %+v", p.Identity)
				}
			}
		})
	}
}
