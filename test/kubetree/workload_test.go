// SPDX-License-Identifier: Apache-2.0

package kubetree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const mi = 1 << 20

func TestSpinIsThrottled(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "busy", kubetree.ContainerSpec{
		Resources: kubetree.Resources{CPULimitMilli: 100},
		Work:      work.Cmd("spin"),
	})
	for _, dir := range []string{c.Path, c.Pod.Path} {
		eventually(t, dir, "cpu.stat", "nr_periods", 10)
	}
	// The container and its pod have the same quota, so it is chance whose
	// runs out first.
	sum := func() uint64 {
		return number(t, c.Path, "cpu.stat", "nr_throttled") + number(t, c.Pod.Path, "cpu.stat", "nr_throttled")
	}
	for deadline := time.Now().Add(time.Minute); sum() < 5; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("neither the container nor the pod is ever throttled")
		}
	}
}

func TestBurstIsThrottledBelowItsLimit(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	// A second container without limits keeps the pod without a quota.
	c := addPod(t, tree, kubetree.PodSpec{Name: "api", Containers: []kubetree.ContainerSpec{
		{Name: "api", Resources: kubetree.Resources{CPULimitMilli: 400}, Work: work.Cmd("burst threads=4 work=20ms period=1s for=8s")},
		{Name: "side"},
	}})
	if _, err := tree.Wait(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := number(t, c.Path, "cpu.stat", "nr_throttled"); got < 5 {
		t.Errorf("throttled in %d periods, want one in each of 8 bursts or nearly so", got)
	}
	// 8 bursts of 80 ms, and the start of the process: a quarter of what the
	// limit allows, as a busy host's time counts as the guest's CPU time.
	if used := number(t, c.Path, "cpu.stat", "usage_usec"); used > 8_000_000*4/10 {
		t.Errorf("used %d us of CPU in 8 s, want less than its limit of 0.4 cores allows", used)
	}
}

func TestShortLivedUsesWhatItWasTold(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "short", kubetree.ContainerSpec{Work: work.Cmd("spin cpu=200ms")})
	exit, err := tree.Wait(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if *exit != (kubetree.Exit{}) {
		t.Errorf("ended with %+v, want code 0", *exit)
	}
	if used := number(t, c.Path, "cpu.stat", "usage_usec"); used < 200_000 {
		t.Errorf("used %d us of CPU, want at least 200000", used)
	}
	again, err := tree.RestartContainer(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Path); !os.IsNotExist(err) {
		t.Errorf("the old incarnation's cgroup is still there: %v", err)
	}
	if again.ID == c.ID || again.Path == c.Path || again.Attempt != 1 {
		t.Errorf("attempt %d has id %s, want attempt 1 and another id than %s", again.Attempt, again.ID, c.ID)
	}
}

func TestExitCode(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "exits", kubetree.ContainerSpec{Work: work.Cmd("exit after=10ms code=3")})
	exit, err := tree.Wait(t.Context(), c)
	if err != nil || *exit != (kubetree.Exit{Code: 3}) {
		t.Errorf("ended with %+v, %v; want code 3", exit, err)
	}
}

func TestGrowIsKilledAsAGroup(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "hog", kubetree.ContainerSpec{
		Resources: kubetree.Resources{MemoryRequestBytes: 8 * mi, MemoryLimitBytes: 24 * mi},
		Work:      work.Cmd("grow step=4Mi every=10ms"),
	})
	exit, err := tree.Wait(t.Context(), c)
	if err != nil || *exit != (kubetree.Exit{Code: 137, OOMKilled: true}) {
		t.Fatalf("ended with %+v, %v; want an OOM kill", exit, err)
	}
	eventually(t, c.Path, "memory.events", "oom_group_kill", 1)
	eventually(t, filepath.Dir(c.Pod.Path), "memory.events", "oom_kill", 1)
}

func TestChildIsKilledAlone(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "shell", kubetree.ContainerSpec{
		Resources:            kubetree.Resources{MemoryRequestBytes: 8 * mi, MemoryLimitBytes: 24 * mi},
		SingleProcessOOMKill: true,
		Work:                 work.Cmd("child step=4Mi every=10ms pause=100ms"),
	})
	eventually(t, c.Path, "memory.events", "oom_kill", 2)
	if got := number(t, c.Path, "memory.events", "oom_group_kill"); got != 0 {
		t.Errorf("%d group kills, want none", got)
	}
	if exit, err := tree.Exited(c); err != nil || exit != nil {
		t.Errorf("the main process ended with %+v, %v; want it to live on", exit, err)
	}
}

func TestOverIsHeldByMemoryHigh(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	c := addOne(t, tree, "held", kubetree.ContainerSpec{
		Resources: kubetree.Resources{MemoryRequestBytes: 4 * mi, MemoryLimitBytes: 44 * mi},
		Work:      work.Cmd("over bytes=40Mi step=1Mi"),
	})
	eventually(t, c.Path, "memory.events", "high", 3)
	eventually(t, c.Path, "memory.pressure", "some total", 10_000)
	if got := number(t, c.Pod.Path, "memory.events", "oom_kill"); got != 0 {
		t.Errorf("%d OOM kills, want it held and not killed", got)
	}
}

func TestForkMeetsPIDsLimit(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "forks", kubetree.ContainerSpec{PIDsLimit: 20, Work: work.Cmd("fork max=100 every=20ms")})
	eventually(t, c.Path, "pids.events", "max", 3)
	if got := number(t, c.Path, "pids.current", ""); got != 20 {
		t.Errorf("%d processes, want the 20 that are allowed", got)
	}
}

func TestHoldIsAnonymous(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "store", kubetree.ContainerSpec{Work: work.Cmd("hold bytes=32Mi")})
	eventually(t, c.Path, "memory.stat", "anon", 32*mi)
}

func TestSwapIsUsed(t *testing.T) {
	if !kubetree.HasSwap() {
		t.Skip("needs swap space, this node has none")
	}
	tree := treetest.New(t, kubetree.Spec{})
	c := addOne(t, tree, "swaps", kubetree.ContainerSpec{
		Resources:      kubetree.Resources{MemoryRequestBytes: 8 * mi, MemoryLimitBytes: 24 * mi},
		SwapLimitBytes: 64 * mi,
		Work:           work.Cmd("hold bytes=40Mi"),
	})
	eventually(t, c.Path, "memory.swap.current", "", 12*mi)
}

func TestCacheIsFileMemory(t *testing.T) {
	dir, ok := kubetree.DiskDir()
	if !ok {
		t.Skip("needs a file system on a disk: files on tmpfs are shared memory, not page cache")
	}
	tree := treetest.New(t, kubetree.Spec{})
	file := filepath.Join(dir, fmt.Sprintf("kubetree-test-%d", os.Getpid()))
	t.Cleanup(func() { os.Remove(file) })
	c := addOne(t, tree, "reads", kubetree.ContainerSpec{Work: work.Cmd("cache bytes=16Mi file=" + file)})
	eventually(t, c.Path, "memory.stat", "file", 15*mi)
	if got := number(t, c.Path, "memory.stat", "shmem"); got > mi {
		t.Errorf("%d bytes of shared memory, want page cache", got)
	}
}

func TestSharedMemoryIsShmem(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	dir := t.TempDir()
	if _, onDisk := kubetree.DiskDir(); onDisk {
		t.Skip("needs a temporary folder that is surely a tmpfs")
	}
	c := addOne(t, tree, "shares", kubetree.ContainerSpec{Work: work.Cmd("cache bytes=8Mi file=" + filepath.Join(dir, "f"))})
	eventually(t, c.Path, "memory.stat", "shmem", 8*mi)
}
