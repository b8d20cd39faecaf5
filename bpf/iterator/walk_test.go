// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// emptyCgroups makes an empty cgroup with n others below it.
func emptyCgroups(t *testing.T, n int) (top *cgroupfs.Cgroup, below []*cgroupfs.Cgroup) {
	t.Helper()
	treetest.Need(t)
	dir, err := os.MkdirTemp(treetest.Root, "slicewatch-test-") //nolint:usetesting // a cgroup, not a temporary folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("c%04d", i))
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(name) })
		below = append(below, cgroupAt(t, name))
	}
	return cgroupAt(t, dir), below
}

func cgroupAt(t *testing.T, dir string) *cgroupfs.Cgroup {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return &cgroupfs.Cgroup{ID: stat.Ino, Path: dir[len(treetest.Root):]}
}

func mustSweep(t *testing.T, r *Reader, top *cgroupfs.Cgroup) {
	t.Helper()
	if err := r.Sweep(top); err != nil {
		t.Fatal(err)
	}
}

// found counts the cgroups that the last sweep came by.
func found(r *Reader, cgroups []*cgroupfs.Cgroup) int {
	n := 0
	for _, c := range cgroups {
		var reading cgroupfs.Reading
		if r.Read(c, &reading) && reading.Has(cgroupfs.CPUUsage) {
			n++
		}
	}
	return n
}

// TestMoreCgroupsThanRoom holds that what there is no room for is counted, that
// room is made in the next sweep, and that there is a bound.
func TestMoreCgroupsThanRoom(t *testing.T) {
	const n = 1500
	top, below := emptyCgroups(t, n)
	r := openReader(t, Config{MaxCgroups: 1200})
	for _, want := range []struct{ found, missed, capacity int }{
		{firstCapacity - 1, n + 1 - firstCapacity, firstCapacity},
		{1199, n - 1199, 1200},
		{1199, n - 1199, 1200},
	} {
		if err := r.Grow(); err != nil {
			t.Fatal(err)
		}
		mustSweep(t, r, top)
		if got := found(r, below); got != want.found || r.Missed() != want.missed || r.Stats().Capacity != want.capacity {
			t.Errorf("%d found, %d missed, room for %d; want %+v", got, r.Missed(), r.Stats().Capacity, want)
		}
	}
	if overflow := r.Stats().Overflow; overflow == 0 {
		t.Error("the overflow was not counted")
	}
}

func TestCgroupsComeAndGo(t *testing.T) {
	top, below := emptyCgroups(t, 3)
	r := openReader(t, Config{})
	mustSweep(t, r, top)
	if got := found(r, below); got != 3 {
		t.Fatalf("%d of 3 found", got)
	}
	gone := below[1]
	if err := os.Remove(treetest.Root + gone.Path); err != nil {
		t.Fatal(err)
	}
	var reading cgroupfs.Reading
	if err := r.ReadNow(gone, &reading); !errors.Is(err, cgroupfs.ErrGone) {
		t.Errorf("reading a removed cgroup gives %v", err)
	}
	mustSweep(t, r, top)
	if found(r, below) != 2 || r.Read(gone, &reading) {
		t.Error("a removed cgroup is still found")
	}
	if err := r.ReadNow(below[0], &reading); err != nil || !reading.Has(cgroupfs.CPUUsage) {
		t.Errorf("one cgroup cannot be read: %v", err)
	}
	if r.Read(below[2], &reading) {
		t.Error("the last sweep's records are used although they were written over")
	}
	mustSweep(t, r, top)
	for _, c := range below {
		_ = os.Remove(treetest.Root + c.Path)
	}
	if err := os.Remove(treetest.Root + top.Path); err != nil {
		t.Fatal(err)
	}
	// The kernel keeps a removed cgroup while an iterator is attached to it, and
	// passes it over.
	if err := r.Sweep(top); err == nil && r.Read(top, &reading) {
		t.Error("a removed tree is still found")
	}
	if err := os.Mkdir(treetest.Root+top.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	again := cgroupAt(t, treetest.Root+top.Path)
	if err := r.Sweep(again); err != nil || !r.Read(again, &reading) {
		t.Errorf("a tree that was made again is not found: %v", err)
	}
	// What fails is told, with the program's name.
	if err := unix.Close(r.link); err != nil {
		t.Fatal(err)
	}
	err := r.Sweep(again)
	r.link = -1
	if _, ok := errors.AsType[*bpf.Unavailable](err); !ok {
		t.Errorf("a sweep without a link gives %v", err)
	}
}

// TestTwoReaders holds that agents do not disturb each other, and that one that
// ends gives every descriptor back, with what is behind it.
func TestTwoReaders(t *testing.T) {
	top, below := emptyCgroups(t, 20)
	one := openReader(t, Config{})
	mustSweep(t, one, top)
	before := openDescriptors(t)
	two := openReader(t, Config{})
	for range 3 {
		mustSweep(t, one, top)
		mustSweep(t, two, below[0])
		if got := found(one, below); got != 20 {
			t.Errorf("the first reader finds %d of 20", got)
		}
		if got := found(two, below); got != 1 {
			t.Errorf("the second reader finds %d of 1", got)
		}
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before the second reader, %d after it", before, after)
	}
	mustSweep(t, one, top)
	if got := found(one, below); got != 20 {
		t.Errorf("after the second reader was closed the first finds %d of 20", got)
	}
}

func TestSweepAllocatesNothing(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	if _, err := tree.AddPod(kubetree.PodSpec{Name: "a", Containers: []kubetree.ContainerSpec{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	r, cgroups := openReader(t, Config{}), cgroupsOf(t)
	readings := make([]cgroupfs.Reading, len(cgroups))
	mustSweep(t, r, cgroups[0])
	allocations := testing.AllocsPerRun(20, func() {
		mustSweep(t, r, cgroups[0])
		for i, c := range cgroups {
			r.Read(c, &readings[i])
		}
	})
	if allocations != 0 {
		t.Errorf("a sweep allocates %v times", allocations)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A place that cannot be read is no 0.
func TestWhatCannotBeReadIsAnError(t *testing.T) {
	treetest.New(t, kubetree.Spec{})
	r := openReader(t, Config{})
	top := cgroupsOf(t)[0]
	mustSweep(t, r, top)
	nowhere := r.indexes
	nowhere.states[0] = 1 << 30 // far beyond all memory
	damaged, err := load(mustTypes(t), nowhere, firstCapacity)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.unload(); err != nil {
		t.Fatal(err)
	}
	r.loaded = damaged
	err = r.Sweep(top)
	if u, ok := errors.AsType[*bpf.Unavailable](err); !ok || u.Reason != bpf.Failed || !strings.Contains(err.Error(), "gave nothing") {
		t.Errorf("%v", err)
	}
	if c := cgroupsOf(t)[0]; r.Read(c, &cgroupfs.Reading{}) {
		t.Error("something was read all the same")
	}
}

func mustTypes(t *testing.T) *btf.Spec {
	t.Helper()
	types, err := bpf.KernelTypes(Name)
	if err != nil {
		t.Fatal(err)
	}
	return types
}
