// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// TestLiveTree scrapes a tree that works and holds every counter between what
// its file said two sample intervals before the scrape and what it said after.
func TestLiveTree(t *testing.T) {
	tree := newTree(t, kubetree.Spec{MemoryQoS: true})
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
			if !strings.Contains(name, "_total{") || strings.HasPrefix(name, `slicewatch_qos_cpu_usage_seconds_total{mode="`) {
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
			} else if v < low || v > high {
				t.Errorf("%s is %v; its file said %v before and %v after", name, v, low, high)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d values were compared", compared)
	}
	t.Logf("%d values compared", compared)
}

// addModes adds the classes' CPU use without its modes: the kernel splits each
// cgroup's use into user and system mode by its own ticks, so that differences
// of the parts are not bounds, those of the sum are.
func addModes(s Series) Series {
	for _, class := range []string{"guaranteed", "burstable", "besteffort"} {
		sum := 0.0
		for _, mode := range []string{"user", "system"} {
			sum += s[labelled("slicewatch_qos_cpu_usage_seconds_total", map[string]string{"qos": class, "mode": mode})]
		}
		s[labelled("slicewatch_qos_cpu_usage_seconds_total", map[string]string{"qos": class})] = sum
	}
	return s
}
