// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// nobody is a user without any right.
const nobody = 65534

// refused starts an agent that must not start and returns what it says.
func refused(t *testing.T, cfg Config) string {
	t.Helper()
	a, err := StartAgent(cfg)
	if errors.Is(err, ErrNoBinary) {
		t.Skip(err)
	}
	if err == nil {
		_ = a.Kill()
		t.Fatalf("the agent started on %s:\n%s", cfg.CgroupFS, a.Log())
	}
	return err.Error()
}

// TestRefusesOtherRoots mounts what the agent cannot use.
func TestRefusesOtherRoots(t *testing.T) {
	treetest.New(t, kubetree.Spec{})
	dir := t.TempDir()
	mount := func(kind, data string, below ...string) string {
		target := filepath.Join(append([]string{dir}, below...)...)
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(kind, target, kind, 0, data); err != nil {
			t.Skipf("this kernel cannot mount %s: %v", kind, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(target, 0); err != nil {
				t.Error(err)
			}
		})
		return target
	}
	for _, test := range []struct {
		name string
		root func() string
		want []string
	}{
		{"plain directory", func() string { return mount("tmpfs", "", "plain") }, []string{"not a cgroup file system", "/sys/fs/cgroup"}},
		{"absent", func() string { return filepath.Join(dir, "absent") }, []string{"no such file", "--path.cgroupfs"}},
		{"v1", func() string { return mount("cgroup", "none,name=old", "v1") }, []string{"cgroup v1 (legacy)", "systemd.unified_cgroup_hierarchy=1"}},
		{"hybrid", func() string {
			root := mount("tmpfs", "", "hybrid")
			mount("cgroup", "none,name=old", "hybrid", "systemd")
			mount("cgroup2", "", "hybrid", "unified")
			return root
		}, []string{"hybrid", "systemd.unified_cgroup_hierarchy=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := settings(t)
			cfg.CgroupFS = test.root()
			said := refused(t, cfg)
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("the agent did not say %q:\n%s", want, said)
				}
			}
		})
	}
}

func TestWithoutPermission(t *testing.T) {
	sameOnAllKernels(t)
	tree := treetest.New(t, kubetree.Spec{})
	fillAndFreeze(t, tree)
	hide := func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Chmod(dir, 0o755); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	}
	t.Run("root", func(t *testing.T) {
		hide(t, treetest.Root)
		cfg := settings(t)
		cfg.CgroupFS, cfg.UID = treetest.Root, nobody
		said := refused(t, cfg)
		for _, want := range []string{"permission denied", treetest.Root, "run as root"} {
			if !strings.Contains(said, want) {
				t.Errorf("the agent did not say %q:\n%s", want, said)
			}
		}
	})
	t.Run("one pod", func(t *testing.T) {
		hidden := tree.Pods()[0]
		hide(t, hidden.Path)
		cfg := settings(t)
		cfg.UID = nobody
		a := start(t, cfg)
		nextSweep(t, a)
		got := metrics(t, a)
		for _, pod := range tree.Pods() {
			name := labelled("slicewatch_pod_memory_usage_bytes", map[string]string{"pod": pod.UID, "qos": pod.QoS.String()})
			if _, there := got[name]; there != (pod != hidden) {
				t.Errorf("%s is exported: %v", name, there)
			}
		}
		if log := a.Log(); !strings.Contains(log, "permission denied") || !strings.Contains(log, filepath.Base(hidden.Path)) {
			t.Errorf("the agent does not say what it cannot read:\n%s", log)
		}
		errorsSeen, err := a.Metrics("/metrics", "slicewatch_sweep_errors_total")
		if err != nil {
			t.Fatal(err)
		}
		if len(errorsSeen) == 0 {
			t.Error("the agent does not count what it cannot read")
		}
	})
}
