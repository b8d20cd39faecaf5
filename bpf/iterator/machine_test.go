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
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

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

// openReader opens the iterator as the agent does.
func openReader(t *testing.T, cfg Config) *Reader {
	t.Helper()
	cfg.Root = treetest.Root
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
	tree, err := cgroupfs.NewTree(treetest.Root, cgroupfs.TreeConfig{})
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
	files, err := cgroupfs.NewFileReader(treetest.Root, cgroupfs.FileReaderConfig{SettingsEvery: 1})
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
