// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// How long a notice of the kernel may take before a test gives up, and how long
// one must stay away to be believed absent. Neither is a performance claim.
const (
	patience = 20 * time.Second
	silence  = 300 * time.Millisecond
)

// newTestTree follows root until the test ends.
func newTestTree(t testing.TB, root string, cfg TreeConfig) *Tree {
	t.Helper()
	tree, err := NewTree(root, cfg)
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

// refresh refreshes tree, which must succeed.
func refresh(t testing.TB, tree *Tree) Changes {
	t.Helper()
	changes, err := tree.Refresh()
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	return changes
}

// delegate switches the controllers on for the children of dir.
func delegate(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0o644)
}

// podName and containerName are names of the cgroupfs driver.
func podName(n int) string       { return fmt.Sprintf("pod%032x", n) }
func containerName(n int) string { return fmt.Sprintf("%064x", n) }

// makePod makes a pod of the cgroupfs driver with a number of containers, and
// returns its directory.
func makePod(t testing.TB, root, qos string, n, containers int) string {
	t.Helper()
	pod := filepath.Join(root, "kubepods", qos, podName(n))
	if err := os.MkdirAll(pod, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(root, "kubepods"), filepath.Join(root, "kubepods", qos), pod} {
		if err := delegate(dir); err != nil {
			t.Fatal(err)
		}
	}
	for c := range containers {
		mkdir(t, filepath.Join(pod, containerName(c)))
	}
	return pod
}

// noLeaks checks for goroutines at the very end of the test: call it first.
func noLeaks(t testing.TB) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func rmdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
}

// run runs tree until the test ends, and waits until it listens.
func run(t testing.TB, tree *Tree) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tree.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	for deadline := time.Now().Add(patience); !tree.watch.running.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Run does not begin to read inotify")
		}
	}
}

// awaken waits for the tree's signal and refreshes it.
func awaken(t testing.TB, tree *Tree) Changes {
	t.Helper()
	select {
	case <-tree.Wake():
	case <-time.After(patience):
		t.Fatal("the tree did not signal")
	}
	return refresh(t, tree)
}

// settle refreshes tree until nothing more is signalled.
func settle(t testing.TB, tree *Tree) {
	t.Helper()
	for {
		select {
		case <-tree.Wake():
			refresh(t, tree)
		case <-time.After(silence):
			refresh(t, tree)
			return
		}
	}
}

// paths returns the paths of cgroups, relative to kubepods.
func paths(cgroups []*Cgroup) []string {
	out := []string{}
	for _, c := range cgroups {
		out = append(out, strings.TrimPrefix(c.Path, "/kubepods"))
	}
	return out
}

func wantPaths(t testing.TB, what string, got []*Cgroup, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), paths(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
