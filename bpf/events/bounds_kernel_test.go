// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// emptyContainers makes and removes the cgroups of n containers.
func emptyContainers(t *testing.T, pod string, n int) {
	t.Helper()
	for i := range n {
		dir := filepath.Join(pod, fmt.Sprintf("cri-containerd-%064x.scope", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// What the ring has no room for is counted, and OOM kills have room when
// births and deaths have none left.
func TestFullRingCountsWhatItLoses(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	r := open(t, tree, events.Config{RingBytes: 1})
	v := newVictims(t, tree)
	pod := v.pod("storm", nil, kubetree.ContainerSpec{Name: "keeper"})
	const n = 300
	emptyContainers(t, pod.Path, n)
	c := v.start(pod, kubetree.ContainerSpec{Name: "big", Work: grow, SingleProcessOOMKill: true, Resources: kubetree.Resources{MemoryLimitBytes: 16 * mib}})
	v.expect(c, "", false, 1)
	v.wait(c)
	var got recorder
	r.Drain(&got)
	v.compare(got.kills)
	lifecycle, oom := r.Tallies()
	told := uint64(len(got.births) + len(got.deaths))
	// The pod, its sandbox, the keeper and the victim were born, too.
	if lifecycle.Lost == 0 || told == 0 || told+lifecycle.Lost != 2*n+4 {
		t.Errorf("%d events told, %d lost, of %d", told, lifecycle.Lost, 2*n+4)
	}
	if oom.Lost != 0 {
		t.Errorf("%d OOM kills lost", oom.Lost)
	}
	t.Logf("%d events told, %d lost", told, lifecycle.Lost)
	got = recorder{}
	emptyContainers(t, pod.Path, 2)
	r.Drain(&got)
	if len(got.births) != 2 || len(got.deaths) != 2 {
		t.Errorf("after the storm: %d births, %d deaths, want 2 each", len(got.births), len(got.deaths))
	}
}

// What a removed cgroup's tasks still used is told as a whole: that there was no room
// for it is one loss, however many tasks it had.
func TestLateLossesAreCountedOnce(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	r := open(t, tree, events.Config{RingBytes: 1})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "full", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	emptyContainers(t, pod.Path, 300) // more than there is room for
	before, _ := r.Tallies()
	const n, threads = 5, 8
	for range n {
		c, err := tree.StartContainer(pod, kubetree.ContainerSpec{Name: "brief", Work: work.Cmd(fmt.Sprintf("spin cpu=%dms threads=%d", threads, threads))})
		if err != nil {
			t.Fatal(err)
		}
		for err = unix.Rmdir(c.Path); errors.Is(err, unix.EBUSY); err = unix.Rmdir(c.Path) {
			runtime.Gosched()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.RemoveContainer(c); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second) // the kernel takes its time to let go of tasks
	after, _ := r.Tallies()
	lost := after.Lost - before.Lost
	t.Logf("%d lost of %d containers with %d threads each", lost, n, threads)
	// Each one's birth and death, and at most once what came after.
	if lost <= 2*n || lost > 3*n {
		t.Errorf("%d lost of %d containers", lost, n)
	}
}

// Nobody disturbs anybody, and nothing is left behind.
func TestReadersSideBySide(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "place", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	before := programs(t)
	first := open(t, tree, events.Config{})
	second, err := events.Open(events.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.SetKubepods(idOf(t, pod.Path)); err != nil { // sees other things
		t.Fatal(err)
	}
	both := programs(t)
	emptyContainers(t, pod.Path, 5)
	var a, b recorder
	first.Drain(&a)
	second.Drain(&b)
	if len(a.deaths) != 5 || len(b.deaths) != 5 {
		t.Errorf("%d and %d deaths, want 5 each", len(a.deaths), len(b.deaths))
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	// The kernel lets go of a program some time after its last user did.
	now := programs(t)
	for range 100 {
		if now*2 <= both+before {
			break
		}
		time.Sleep(100 * time.Millisecond)
		now = programs(t)
	}
	if now*2 != both+before {
		t.Errorf("%d eBPF programs before, %d with two readers, %d with one", before, both, now)
	}
	emptyContainers(t, pod.Path, 3)
	a = recorder{}
	first.Drain(&a)
	if len(a.deaths) != 3 {
		t.Errorf("%d deaths after the other was closed, want 3", len(a.deaths))
	}
}

// programs counts the eBPF programs in the kernel.
func programs(t *testing.T) int {
	t.Helper()
	n := 0
	for id, err := ebpf.ProgramGetNextID(0); ; id, err = ebpf.ProgramGetNextID(id) {
		if errors.Is(err, os.ErrNotExist) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestWakes(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "place", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, tree, events.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for round := range 3 {
		emptyContainers(t, pod.Path, 4)
		select {
		case <-r.Wake():
		case <-time.After(time.Minute):
			t.Fatalf("round %d: no wake", round)
		}
		var got recorder
		for len(got.deaths) < 4 {
			r.Drain(&got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
