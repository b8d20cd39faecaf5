// SPDX-License-Identifier: Apache-2.0

// Package treetest gives a test a tree of its own in the kernel's cgroup file
// system and takes it away at the test's end. It must not know what the test
// does with it.
package treetest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// Root is where the machine has its cgroup v2 file system.
const Root = "/sys/fs/cgroup"

// small is a smaller program than a test's own, if it is there: a tree has
// hundreds of processes, and under emulation each start of one counts.
const small = "/bin/kubetree"

// Need skips the test elsewhere than in a test machine: on a developer's the
// kernel's OOM killer and its eBPF programs are nobody's toys.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(wire.MarkerEnv) == "" {
		t.Skip("makes cgroups and kills in them: run it with go run ./test/vm/cmd/vmtest")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(Root, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Fatalf("the test machine has no cgroup2 file system at %s: %v", Root, err)
	}
}

// New returns a tree that is closed at the test's end. The test's program must
// do the processes' work (work.Main), unless kubetree is installed.
func New(t testing.TB, spec kubetree.Spec) *kubetree.Tree {
	t.Helper()
	Need(t)
	if _, err := os.Stat(small); err == nil {
		spec.Executable = small
	}
	tree, err := kubetree.New(Root, spec)
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
