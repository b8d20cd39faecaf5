// SPDX-License-Identifier: Apache-2.0

package kubetree_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

func TestContainerIsSetUpAsTheKubeletDoes(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true, NodeMemoryBytes: 4096 * mi, AllocatableMilliCPU: 2000})
	burstable := addPod(t, tree, kubetree.PodSpec{Name: "burstable", PIDsLimit: 100, Containers: []kubetree.ContainerSpec{
		{Name: "a", Resources: kubetree.Resources{CPURequestMilli: 100, CPULimitMilli: 200, MemoryRequestBytes: 256 * mi, MemoryLimitBytes: 512 * mi}},
		{Name: "b", Resources: kubetree.Resources{CPULimitMilli: 50, MemoryLimitBytes: 64 * mi}},
	}})
	guaranteed := addOne(t, tree, "guaranteed", kubetree.ContainerSpec{Resources: kubetree.Resources{CPULimitMilli: 200, MemoryLimitBytes: 64 * mi}})
	bestEffort := addOne(t, tree, "besteffort", kubetree.ContainerSpec{})

	settings := func(dir string) map[string]string {
		got := map[string]string{}
		for _, name := range []string{"cpu.max", "cpu.weight", "memory.max", "memory.high", "memory.low", "memory.min", "memory.oom.group", "pids.max"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			value := strings.TrimSpace(string(data))
			if name == "cpu.max" {
				value = perPeriod(t, value)
			}
			got[strings.TrimPrefix(name, "memory.")] = value
		}
		return got
	}
	want := func(cpuMax, weight, max, high, low, min, group, pids string) map[string]string {
		return map[string]string{"cpu.max": cpuMax, "cpu.weight": weight, "max": max, "high": high, "low": low, "min": min, "oom.group": group, "pids.max": pids}
	}
	for name, test := range map[string]struct{ got, want map[string]string }{
		"burstable pod":        {settings(burstable.Pod.Path), want("25000", "6", "603979776", "max", "335544320", "0", "0", "100")},
		"burstable container":  {settings(burstable.Path), want("20000", "4", "536870912", "510025728", "268435456", "0", "1", "max")},
		"sandbox":              {settings(burstable.Pod.Sandbox.Path), want("max", "1", "max", "max", "0", "0", "0", "max")},
		"guaranteed pod":       {settings(guaranteed.Pod.Path), want("20000", "8", "67108864", "max", "0", "67108864", "0", "max")},
		"guaranteed container": {settings(guaranteed.Path), want("20000", "8", "67108864", "max", "0", "67108864", "1", "max")},
		"besteffort container": {settings(bestEffort.Path), want("max", "1", "max", "max", "0", "0", "1", "max")},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for c, want := range map[*kubetree.Container]int{
		burstable: 938, burstable.Pod.Sandbox: -998, guaranteed: -997, bestEffort: 1000,
	} {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "oom_score_adj"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(data)); got != strconv.Itoa(want) {
			t.Errorf("oom_score_adj of %s %s is %s, want %d", c.Pod.Spec.Name, c.Spec.Name, got, want)
		}
		procs, err := truth.ReadFile(c.Path, "cgroup.procs")
		if diff := cmp.Diff(truth.File{"": strconv.Itoa(c.PID)}, procs); diff != "" || err != nil {
			t.Errorf("processes of %s %s (-want +got): %v\n%s", c.Pod.Spec.Name, c.Spec.Name, err, diff)
		}
	}
	if guaranteed.Pod.QoS != cgroupfs.Guaranteed || burstable.Pod.QoS != cgroupfs.Burstable || bestEffort.Pod.QoS != cgroupfs.BestEffort {
		t.Errorf("classes %v, %v, %v", guaranteed.Pod.QoS, burstable.Pod.QoS, bestEffort.Pod.QoS)
	}
}

// perPeriod turns quota and period into microseconds per 100 ms: the kernel
// doubles both when its timer is late.
func perPeriod(t *testing.T, cpuMax string) string {
	t.Helper()
	quota, period, _ := strings.Cut(cpuMax, " ")
	if quota == "max" {
		return quota
	}
	q, err1 := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err1 != nil || err2 != nil || p == 0 {
		t.Fatalf("cpu.max is %q", cpuMax)
	}
	return strconv.FormatInt(q*100_000/p, 10)
}

func TestLayouts(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{Driver: kubetree.Cgroupfs, CgroupRoot: "/kubelet"})
	nested := addOne(t, tree, "nested", kubetree.ContainerSpec{Layout: kubetree.Nested})
	if got := number(t, nested.Path, "pids.current", ""); got == 0 {
		t.Error("no process below the container")
	}
	if got := number(t, filepath.Join(nested.Path, "init.scope"), "cgroup.procs", ""); got != uint64(nested.PID) {
		t.Errorf("process %d in init.scope, want %d", got, nested.PID)
	}
	threaded := addOne(t, tree, "threaded", kubetree.ContainerSpec{Layout: kubetree.Threaded, Work: work.Cmd("thread")})
	if data, err := os.ReadFile(filepath.Join(threaded.Path, "cgroup.type")); string(data) != "domain threaded\n" {
		t.Errorf("cgroup.type %q, %v; want domain threaded", data, err)
	}
	eventually(t, filepath.Join(threaded.Path, "threads"), "cpu.stat", "usage_usec", 20_000)
}

func TestHostileNamesAreMade(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "victim", kubetree.ContainerSpec{})
	for _, dir := range []string{tree.Kubepods(), c.Pod.Path, c.Path} {
		paths, err := tree.AddHostile(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestFailedPodLeavesNothing(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	spec := kubetree.PodSpec{Name: "impossible", Containers: []kubetree.ContainerSpec{{Name: "a"}, {Name: "b", SwapLimitBytes: -5}}}
	if _, err := tree.AddPod(spec); err == nil || !strings.Contains(err.Error(), "memory.swap.max of cgroup") {
		t.Fatalf("error %v, want one that names the file and the cgroup", err)
	}
	if pods := tree.Pods(); len(pods) != 0 {
		t.Errorf("%d pods are left", len(pods))
	}
	entries, err := filepath.Glob(filepath.Join(tree.Slice(cgroupfs.BestEffort), "*pod*"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestFrozenTreeStandsStill(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	if err := tree.Frozen(t.Context(), 12, 1, nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range []struct{ file, key string }{
		{"memory.events", "high"}, {"memory.events", "oom_kill"}, {"cpu.pressure", "some total"}, {"memory.pressure", "some total"},
	} {
		if number(t, tree.Kubepods(), n.file, n.key) == 0 {
			t.Errorf("%s %s is 0, want a tree where something happened", n.file, n.key)
		}
	}
	var throttled, refused uint64
	for _, pod := range tree.Pods() {
		for _, c := range tree.Containers(pod) {
			throttled += number(t, c.Path, "cpu.stat", "nr_throttled")
			refused += number(t, c.Path, "pids.events", "max")
		}
	}
	if throttled == 0 || refused == 0 {
		t.Errorf("%d throttled periods and %d refused processes, want some of both", throttled, refused)
	}
	// Longer than the kernel keeps anything back.
	before, err := truth.ReadTree(tree.Kubepods())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	after, err := truth.ReadTree(tree.Kubepods())
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range truth.Compare(before, after) {
		if !strings.Contains(change.Key, " avg") {
			t.Errorf("moved: %+v", change)
		}
	}
}
