// SPDX-License-Identifier: Apache-2.0

package kubetree_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const cgroupRoot = "/sys/fs/cgroup"

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// newTree makes a tree that is gone when the test is over; the test is skipped
// where there can be none.
func newTree(t *testing.T, spec kubetree.Spec) *kubetree.Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skipf("needs a cgroup2 file system at %s", cgroupRoot)
	}
	tree, err := kubetree.New(cgroupRoot, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Errorf("close the tree: %v", err)
		}
	})
	return tree
}

// addOne adds a pod of one container and returns that.
func addOne(t *testing.T, tree *kubetree.Tree, name string, spec kubetree.ContainerSpec) *kubetree.Container {
	t.Helper()
	spec.Name = name
	return addPod(t, tree, kubetree.PodSpec{Name: name, Containers: []kubetree.ContainerSpec{spec}})
}

// addPod adds a pod and returns its first container.
func addPod(t *testing.T, tree *kubetree.Tree, spec kubetree.PodSpec) *kubetree.Container {
	t.Helper()
	pod, err := tree.AddPod(spec)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Containers(pod)[0]
}

// number reads one number of a cgroup; "max" and absent fail the test.
func number(t *testing.T, dir, file, key string) uint64 {
	t.Helper()
	f, err := truth.ReadFile(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	n, isMax, ok := truth.Cgroup{file: f}.Value(file, key)
	if !ok || isMax {
		t.Fatalf("%s of %s has no number under %q: %v", file, dir, key, f)
	}
	return n
}

// eventually waits until the number is at least want.
func eventually(t *testing.T, dir, file, key string, want uint64) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		got := number(t, dir, file, key)
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s of %s is %d, never reached %d", file, key, dir, got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
