// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const cgroupRoot = "/sys/fs/cgroup"

// The test binary is also the program in the containers.
func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	if err := chore(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// needMachine skips what would load programs into the kernel of a developer's
// own machine.
func needMachine(t *testing.T) {
	t.Helper()
	if os.Getenv("IN_TEST_MACHINE") == "" {
		t.Skip("loads eBPF programs and makes cgroups: run it with go run ./test/vm/cmd/vmtest ./bpf/iterator")
	}
}

func newTree(t *testing.T, spec kubetree.Spec) *kubetree.Tree {
	t.Helper()
	needMachine(t)
	const small = "/bin/kubetree"
	if _, err := os.Stat(small); err == nil {
		spec.Executable = small
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

// openReader opens the iterator as the agent does.
func openReader(t *testing.T, cfg Config) *Reader {
	t.Helper()
	cfg.Root = cgroupRoot
	r, err := Open(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// cgroupsOf returns what the agent would follow, kubepods first.
func cgroupsOf(t *testing.T) []*cgroupfs.Cgroup {
	t.Helper()
	tree, err := cgroupfs.NewTree(cgroupRoot, cgroupfs.TreeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if _, err := tree.Refresh(); err != nil {
		t.Fatal(err)
	}
	cgroups := slices.Clone(tree.Cgroups())
	if len(cgroups) == 0 {
		t.Fatal("there is no kubepods")
	}
	return cgroups
}

func fileReader(t *testing.T) *cgroupfs.FileReader {
	t.Helper()
	files, err := cgroupfs.NewFileReader(cgroupRoot, cgroupfs.FileReaderConfig{SettingsEvery: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	return files
}

func kernelRelease(t *testing.T) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(unix.ByteSliceToString(name.Release[:]))
}
