// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernelTree makes an empty cgroup that stands for the cgroup root, with the
// controllers switched on as the kubelet does. It skips the test where no
// cgroup can be made.
func kernelTree(t testing.TB) string {
	t.Helper()
	const mount = "/sys/fs/cgroup"
	if err := CheckRoot(mount); err != nil {
		t.Skipf("needs a kernel with cgroup v2: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	root, err := os.MkdirTemp(mount, "slicewatch-test-") //nolint:usetesting // a cgroup, not a temporary folder
	if err != nil {
		t.Skipf("needs a writable cgroup file system: %v", err)
	}
	t.Cleanup(func() { removeCgroups(t, root) })
	for _, dir := range []string{mount, root} {
		if err := delegate(dir); err != nil {
			t.Skipf("needs the cpu, memory and pids controllers: %v", err)
		}
	}
	return root
}

// removeCgroups removes dir and what is below it, leaves first.
func removeCgroups(t testing.TB, dir string) {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && e.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil {
		t.Errorf("walk %s: %v", dir, err)
	}
	for _, d := range slices.Backward(dirs) {
		if err := os.Remove(d); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	}
}

// The search and the tree rely on this: kernfs counts 2 and one per child.
func TestKernelLinkCounts(t *testing.T) {
	root := kernelTree(t)
	for n := range 5 {
		var st unix.Stat_t
		if err := unix.Stat(root, &st); err != nil {
			t.Fatal(err)
		}
		if got := uint64(st.Nlink); got != uint64(leafLinks+n) {
			t.Errorf("%d children: %d links, want %d", n, got, leafLinks+n)
		}
		mkdir(t, filepath.Join(root, fmt.Sprint("child", n)))
	}
	rmdir(t, filepath.Join(root, "child0"))
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	if got := uint64(st.Nlink); got != leafLinks+4 {
		t.Errorf("4 children after one was removed: %d links, want %d", got, leafLinks+4)
	}
}

func TestKernelNotices(t *testing.T) {
	noLeaks(t)
	root := kernelTree(t)
	pod := makePod(t, root, "burstable", 1, 2)
	podPath := pod[len(root)+len("/kubepods"):]
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	run(t, tree)
	first := refresh(t, tree)
	a, b := podPath+"/"+containerName(0), podPath+"/"+containerName(1)
	wantPaths(t, "born at first", first.Born, "", "/burstable", podPath, a, b)
	if got := tree.Stats(); got.Watches != 5 || got.WatchesFailed != 0 {
		t.Errorf("stats %+v, want 5 watches", got)
	}
	settle(t, tree)

	c := podPath + "/" + containerName(2)
	mkdir(t, filepath.Join(root, "kubepods", c))
	changes := awaken(t, tree)
	wantPaths(t, "born after mkdir", changes.Born, c)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "kubepods", c), &st); err != nil {
		t.Fatal(err)
	}
	if changes.Born[0].ID != st.Ino {
		t.Errorf("ID %d, want the inode %d", changes.Born[0].ID, st.Ino)
	}
	settle(t, tree)

	rmdir(t, filepath.Join(root, "kubepods", b))
	wantPaths(t, "gone after rmdir", awaken(t, tree).Gone, b)
	settle(t, tree)
	// The removed cgroup's watch is gone in the kernel, too.
	if got, want := watchesInKernel(t, tree), tree.Stats().Watches; got != want || want != 5 {
		t.Errorf("the kernel has %d watches, the tree %d, want 5", got, want)
	}

	for _, file := range []string{"memory.high", "cpu.max", "pids.max"} {
		write(t, filepath.Join(root, "kubepods", a, file), "max")
		wantPaths(t, "rewritten after "+file, awaken(t, tree).Rewritten, a)
		settle(t, tree)
	}
	write(t, filepath.Join(root, "kubepods/burstable/cpu.weight"), "50")
	wantPaths(t, "rewritten after cpu.weight", awaken(t, tree).Rewritten, "/burstable")
}

// The kernel reports its own changes of cgroup.events as modifications; they
// must not wake anybody. Neither must what containers make below themselves.
func TestKernelNoiseIsSilent(t *testing.T) {
	noLeaks(t)
	root := kernelTree(t)
	container := filepath.Join(makePod(t, root, "burstable", 1, 1), containerName(0))
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	run(t, tree)
	refresh(t, tree)
	settle(t, tree)
	spy, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer spy.close()
	if _, err := spy.add(container, unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}

	// The kernel only tells about files whose inode it has in its cache.
	if _, err := os.ReadFile(filepath.Join(container, "cgroup.events")); err != nil {
		t.Fatal(err)
	}
	own := ownCgroup(t)
	write(t, filepath.Join(container, "cgroup.procs"), "0")
	write(t, filepath.Join(own, "cgroup.procs"), "0")
	mkdir(t, filepath.Join(container, "init"))
	rmdir(t, filepath.Join(container, "init"))
	waitForNotice(t, spy, "cgroup.events")
	select {
	case <-tree.Wake():
		t.Error("the kernel's own notices woke the tree")
	case <-time.After(silence):
	}
	changes := refresh(t, tree)
	if len(changes.Born)+len(changes.Gone)+len(changes.Rewritten) > 0 {
		t.Errorf("changes %+v, want none", changes)
	}
}

func TestKernelRefreshWithoutNotices(t *testing.T) {
	root := kernelTree(t)
	pod := makePod(t, root, "besteffort", 1, 2)
	a, b := filepath.Join(pod, containerName(0)), filepath.Join(pod, containerName(7))
	tree := newTestTree(t, root, TreeConfig{})
	refresh(t, tree)

	// One went and one came: the link count is the same.
	rmdir(t, a)
	mkdir(t, b)
	changes := refresh(t, tree)
	wantPaths(t, "gone", changes.Gone, a[len(root)+len("/kubepods"):])
	wantPaths(t, "born", changes.Born, b[len(root)+len("/kubepods"):])

	// Removed and made again under the same name: another cgroup.
	rmdir(t, b)
	mkdir(t, b)
	changes = refresh(t, tree)
	if len(changes.Gone) != 1 || len(changes.Born) != 1 || changes.Gone[0].ID == changes.Born[0].ID {
		t.Errorf("changes %+v, want one gone and another one born", changes)
	}
}

func TestKernelKubepodsReplaced(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			noLeaks(t)
			root := kernelTree(t)
			makePod(t, root, "burstable", 1, 2)
			tree := newTestTree(t, root, TreeConfig{Watch: watch})
			if watch {
				run(t, tree)
			}
			refresh(t, tree)
			removeCgroups(t, filepath.Join(root, "kubepods"))
			changes := refresh(t, tree)
			if len(changes.Gone) != 5 || len(tree.Cgroups()) != 0 {
				t.Errorf("%d gone, %d left, want 5 and 0", len(changes.Gone), len(tree.Cgroups()))
			}
			if k, ok := tree.Kubepods(); ok {
				t.Errorf("still follows %v", k)
			}

			makePod(t, root, "burstable", 2, 1)
			for deadline := time.Now().Add(patience); len(tree.Cgroups()) != 4; time.Sleep(10 * time.Millisecond) {
				refresh(t, tree)
				if time.Now().After(deadline) {
					t.Fatalf("follows %q, want the new tree of 4", paths(tree.Cgroups()))
				}
			}
			removeCgroups(t, filepath.Join(root, "kubepods"))
			makePod(t, root, "burstable", 2, 1)
			changes = refresh(t, tree)
			if len(changes.Gone) != 4 || len(changes.Born) != 4 {
				t.Errorf("replaced between two refreshes: %d gone, %d born, want 4 and 4", len(changes.Gone), len(changes.Born))
			}
		})
	}
}

// Between two regular listings only link counts are looked at.
func TestKernelRefreshAllocatesNothing(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			root := kernelTree(t)
			for n := range 10 {
				makePod(t, root, "burstable", n, 2)
			}
			tree := newTestTree(t, root, TreeConfig{Watch: watch})
			if watch {
				run(t, tree)
			}
			refresh(t, tree)
			refresh(t, tree)
			if n := testing.AllocsPerRun(2*relistEvery, func() { refresh(t, tree) }); n != 0 {
				t.Errorf("%v allocations per refresh, want none", n)
			}
		})
	}
}

func BenchmarkKernelTreeRefresh(b *testing.B) {
	for _, watch := range []bool{false, true} {
		b.Run(fmt.Sprint("watch=", watch), func(b *testing.B) {
			root := kernelTree(b)
			for n := range 110 {
				makePod(b, root, "burstable", n, 2)
			}
			tree := newTestTree(b, root, TreeConfig{Watch: watch})
			if watch {
				run(b, tree)
			}
			refresh(b, tree)
			b.ReportAllocs()
			for b.Loop() {
				refresh(b, tree)
			}
		})
	}
}

// ownCgroup returns the directory of the cgroup that the test runs in.
func ownCgroup(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, own, ok := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if !ok {
		t.Fatalf("no cgroup v2 entry in %q", text)
	}
	return filepath.Join("/sys/fs/cgroup", own)
}

// waitForNotice reads w until it has a notice about the file name.
func waitForNotice(t testing.TB, w *watcher, name string) {
	t.Helper()
	if err := w.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			t.Fatalf("no notice about %s: %v", name, err)
		}
		for rest := buf[:n]; len(rest) > 0; {
			var e notice
			if e, rest, err = cutNotice(rest); err != nil {
				t.Fatal(err)
			}
			if string(e.name) == name {
				return
			}
		}
	}
}

// watchesInKernel counts what the kernel says the tree watches.
func watchesInKernel(t testing.TB, tree *Tree) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", tree.watch.fd))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "inotify wd:")
}
