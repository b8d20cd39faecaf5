// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// TestLiveTree scrapes a tree that works and holds every counter between what
// its file said two sample intervals before the scrape and what it said after.
func TestLiveTree(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	res := func(request, limit, memoryRequest, memoryLimit int64) kubetree.Resources {
		return kubetree.Resources{CPURequestMilli: request, CPULimitMilli: limit, MemoryRequestBytes: memoryRequest << 20, MemoryLimitBytes: memoryLimit << 20}
	}
	for _, spec := range []kubetree.PodSpec{
		{Name: "throttled", Containers: []kubetree.ContainerSpec{{Name: "a", Resources: res(50, 100, 16, 32), Work: work.Cmd("spin threads=2 duty=0.5")}}},
		{Name: "bursting", Containers: []kubetree.ContainerSpec{{Name: "a", Resources: res(50, 300, 16, 0), Work: work.Cmd("burst threads=3 work=20ms period=200ms")}}},
		{Name: "guaranteed", Containers: []kubetree.ContainerSpec{{Name: "a", Resources: res(100, 100, 24, 24), Work: work.Cmd("spin duty=0.05")}}},
		{Name: "held", Containers: []kubetree.ContainerSpec{{Name: "a", Resources: res(50, 0, 4, 44), Work: work.Cmd("over bytes=40Mi step=1Mi")}}},
		{Name: "besteffort", Containers: []kubetree.ContainerSpec{{Name: "a", Work: work.Cmd("spin duty=0.02")}}},
	} {
		if _, err := tree.AddPod(spec); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, settings(t))
	mustReadThrough(t, a, true)
	nextSweep(t, a)
	compared := 0
	for range 5 {
		// The agent's own rule is that a sweep takes less than its interval;
		// on a machine that emulates, wait for what it really takes.
		nextSweep(t, a)
		before := addModes(readNode(t, tree, false).expect())
		time.Sleep(2 * time.Second) // two intervals
		nextSweep(t, a)
		got := addModes(metrics(t, a))
		after := addModes(readNode(t, tree, true).expect())
		for name, low := range before {
			if !strings.Contains(name, "_total{") {
				continue
			}
			high, ok := after[name]
			if !ok {
				continue
			}
			compared++
			v, ok := got[name]
			if !ok {
				t.Errorf("%s is not exported", name)
			} else if slack := splitSlack(name); v < low-slack || v > high+slack {
				t.Errorf("%s is %v; its file said %v before and %v after", name, v, low, high)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d values were compared", compared)
	}
	t.Logf("%d values compared", compared)
}

// addModes adds, for each use of CPU by mode, the sum of its modes. The sum is
// the scheduler's own and held exactly.
func addModes(s Series) Series {
	for name, user := range maps.Clone(s) {
		if !strings.Contains(name, userMode) {
			continue
		}
		s[strings.Replace(name, userMode, bothModes, 1)] = user + s[strings.Replace(name, userMode, `mode="system"`, 1)]
	}
	return s
}

const (
	userMode  = `mode="user"`
	bothModes = `mode="both"`
)

// splitSlack is by how many seconds a series may be outside of its file's
// values: a cgroup's time is split by the ticks that fell into each mode, and
// what was told before is never taken back (kernel/sched/cputime.c,
// cputime_adjust). So two that read at different times, as the iterator and a
// file, differ by some ticks; of a class, the pods' splits are added.
func splitSlack(name string) float64 {
	switch {
	case strings.Contains(name, userMode), strings.Contains(name, `mode="system"`):
		return 0.1
	case strings.Contains(name, bothModes):
		return 1e-9 // the parts are added in floating point
	}
	return 0
}
