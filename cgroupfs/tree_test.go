// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestTreeOrder(t *testing.T) {
	root := t.TempDir()
	makePod(t, root, "besteffort", 1, 1)
	makePod(t, root, "burstable", 9, 2)
	makePod(t, root, "", 5, 1)
	makePod(t, root, "burstable", 2, 1)
	mkdir(t, filepath.Join(root, "kubepods/burstable/other"))
	mkdir(t, filepath.Join(root, "kubepods/burstable", podName(2), containerName(0), "init"))
	tree := newTestTree(t, root, TreeConfig{})
	changes := refresh(t, tree)
	want := []string{
		"", "/besteffort", "/burstable",
		"/" + podName(5), "/" + podName(5) + "/" + containerName(0),
		"/burstable/" + podName(2), "/burstable/" + podName(2) + "/" + containerName(0),
		"/burstable/" + podName(9), "/burstable/" + podName(9) + "/" + containerName(0), "/burstable/" + podName(9) + "/" + containerName(1),
		"/besteffort/" + podName(1), "/besteffort/" + podName(1) + "/" + containerName(0),
	}
	wantPaths(t, "cgroups", tree.Cgroups(), want...)
	wantPaths(t, "born", changes.Born, want...)
	if got := tree.Stats(); got != (TreeStats{Ignored: 1}) {
		t.Errorf("stats %+v, want 1 ignored directory", got)
	}
	if k, ok := tree.Kubepods(); !ok || k != kubepodsCgroupfs() {
		t.Errorf("Kubepods = %v, %v", k, ok)
	}
	guaranteed := tree.Cgroups()[3]
	if guaranteed.Parent != tree.Cgroups()[0] || tree.Cgroups()[4].Parent != guaranteed {
		t.Errorf("a guaranteed pod's parent is %v, want kubepods, and its container's is %v", guaranteed.Parent, tree.Cgroups()[4].Parent)
	}
}

func TestTreeIsBounded(t *testing.T) {
	root := t.TempDir()
	pod := makePod(t, root, "burstable", 1, 10)
	var log bytes.Buffer
	tree := newTestTree(t, root, TreeConfig{MaxCgroups: 6, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 { // the count is of cgroups, not of times that they were seen
		refresh(t, tree)
		if got := tree.Stats().Truncated; len(tree.Cgroups()) != 6 || got != 7 {
			t.Fatalf("follows %d, %d truncated, want 6 and 7", len(tree.Cgroups()), got)
		}
	}
	if got := strings.Count(log.String(), "More cgroups than are followed"); got != 1 {
		t.Errorf("said %d times that the bound bites, want once:\n%s", got, &log)
	}
	for _, c := range tree.Cgroups()[3:] {
		rmdir(t, filepath.Join(root, c.Path))
	}
	refresh(t, tree)
	refresh(t, tree)
	if got := tree.Stats().Truncated; len(tree.Cgroups()) != 6 || got != 4 {
		t.Errorf("after 3 went: follows %d, %d truncated, want 6 and 4", len(tree.Cgroups()), got)
	}
	if err := os.RemoveAll(pod); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if got := tree.Stats().Truncated; len(tree.Cgroups()) != 2 || got != 0 {
		t.Errorf("after the pod went: follows %d, %d truncated, want 2 and 0", len(tree.Cgroups()), got)
	}
}

// Without kubepods the search becomes rarer, up to every 30 seconds.
func TestTreeSearchesRarely(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tree := newTestTree(t, root, TreeConfig{})
		searches, last := 0, time.Time{}
		for range 300 {
			refresh(t, tree)
			if !tree.searchAt.Equal(last) {
				searches, last = searches+1, tree.searchAt
			}
			time.Sleep(time.Second)
		}
		// After 0, 1, 3, 7, 15, 31 seconds, and every 30 from then on.
		if searches != 14 {
			t.Errorf("%d searches in 300 seconds, want 14", searches)
		}
		makePod(t, root, "burstable", 1, 1)
		time.Sleep(maxSearchPause)
		refresh(t, tree)
		if len(tree.Cgroups()) != 4 {
			t.Errorf("follows %q, want 4 cgroups", paths(tree.Cgroups()))
		}
	})
}

// The kubelet was given another driver: what the old one left behind is empty.
func TestTreeLeavesAnEmptyKubepods(t *testing.T) {
	root := t.TempDir()
	pod := makePod(t, root, "burstable", 1, 0)
	synctest.Test(t, func(t *testing.T) {
		tree := newTestTree(t, root, TreeConfig{})
		refresh(t, tree)
		mkdir(t, filepath.Join(root, "kubepods.slice/kubepods-pod"+uidSlice+".slice"))
		time.Sleep(maxSearchPause)
		refresh(t, tree)
		if k, _ := tree.Kubepods(); k != kubepodsCgroupfs() {
			t.Errorf("follows %v, want the one that had a pod first", k)
		}
		if err := os.RemoveAll(pod); err != nil {
			t.Fatal(err)
		}
		refresh(t, tree)
		time.Sleep(maxSearchPause)
		changes := refresh(t, tree)
		if k, _ := tree.Kubepods(); k != kubepodsSystemd() {
			t.Errorf("follows %v, want the one that has a pod", k)
		}
		if len(changes.Gone) != 2 || len(changes.Born) != 2 {
			t.Errorf("%d gone, %d born, want 2 and 2", len(changes.Gone), len(changes.Born))
		}
	})
}

func TestTreeFindsKubepodsWhenItComes(t *testing.T) {
	noLeaks(t)
	root := t.TempDir()
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	run(t, tree)
	refresh(t, tree)
	if _, ok := tree.Kubepods(); ok || tree.Stats().Watches != 1 {
		t.Fatalf("stats %+v, want 1 watch and no kubepods", tree.Stats())
	}
	mkdir(t, filepath.Join(root, "kubepods"))
	wantPaths(t, "born", awaken(t, tree).Born, "")
	if got := tree.Stats().Watches; got != 1 {
		t.Errorf("%d watches, want that of kubepods", got)
	}
}

func TestTreeNotices(t *testing.T) {
	noLeaks(t)
	root := t.TempDir()
	pod := makePod(t, root, "burstable", 1, 1)
	container := filepath.Join(pod, containerName(0))
	write(t, filepath.Join(container, "memory.high"), "max")
	write(t, filepath.Join(container, "memory.events"), "high 0")
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	run(t, tree)
	refresh(t, tree)
	settle(t, tree)

	write(t, filepath.Join(container, "memory.events"), "high 1")
	write(t, filepath.Join(container, "memory.high"), "1")
	changes := awaken(t, tree)
	wantPaths(t, "rewritten", changes.Rewritten, container[len(root)+len("/kubepods"):])
	settle(t, tree)

	other := makePod(t, root, "burstable", 2, 0)
	wantPaths(t, "born", awaken(t, tree).Born, "/burstable/"+podName(2))
	settle(t, tree)
	mkdir(t, filepath.Join(other, containerName(3)))
	wantPaths(t, "born", awaken(t, tree).Born, "/burstable/"+podName(2)+"/"+containerName(3))
	settle(t, tree)
	if err := os.RemoveAll(pod); err != nil {
		t.Fatal(err)
	}
	settle(t, tree)
	wantPaths(t, "left", tree.Cgroups(), "", "/burstable", "/burstable/"+podName(2), "/burstable/"+podName(2)+"/"+containerName(3))
	if got, want := watchesInKernel(t, tree), tree.Stats().Watches; got != want || want != 4 {
		t.Errorf("the kernel has %d watches, the tree %d, want 4", got, want)
	}
}

// What was lost is made up for by looking at everything.
func TestTreeOverflow(t *testing.T) {
	root := t.TempDir()
	makePod(t, root, "burstable", 1, 1)
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	refresh(t, tree)
	if err := tree.watch.take(encode(notice{watch: -1, mask: unix.IN_Q_OVERFLOW})); err != nil {
		t.Fatal(err)
	}
	tree.applyMarks()
	for _, n := range tree.dirs {
		if !n.dirty {
			t.Errorf("%s is not to be listed", n.cg.Path)
		}
	}
	if err := tree.watch.take(encode(notice{watch: -1, mask: unix.IN_Q_OVERFLOW})); err != nil {
		t.Fatal(err)
	}
	if got := awaken(t, tree).Rewritten; len(got) != 4 {
		t.Errorf("rewritten %q, want all 4", paths(got))
	}
	if got := tree.Stats().Overflows; got != 2 {
		t.Errorf("%d overflows, want 2", got)
	}
	if got := refresh(t, tree).Rewritten; len(got) != 0 {
		t.Errorf("rewritten %q at the next refresh, want none", paths(got))
	}
}

func TestTreeRefusesWatchesSilently(t *testing.T) {
	root := t.TempDir()
	makePod(t, root, "burstable", 1, 1)
	var log bytes.Buffer
	tree := newTestTree(t, root, TreeConfig{Watch: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	fd := tree.watch.fd
	tree.watch.fd = -1 // as good as no watch left
	refresh(t, tree)
	tree.watch.fd = fd
	if got := tree.Stats(); got.WatchesFailed != 4 || got.Watches != 0 {
		t.Errorf("stats %+v, want 4 failed watches", got)
	}
	if got := strings.Count(log.String(), "fs.inotify.max_user_watches"); got != 1 {
		t.Errorf("said %d times what to raise, want once:\n%s", got, &log)
	}
	mkdir(t, filepath.Join(root, "kubepods", podName(7)))
	wantPaths(t, "born", refresh(t, tree).Born, "/"+podName(7))
}

func TestTreeRunWithoutInotify(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tree := newTestTree(t, root, TreeConfig{})
		if tree.Wake() != nil {
			t.Error("a wake channel without inotify")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tree.Run(ctx) }()
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("Run ended before its context")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestTreeErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := NewTree(missing, TreeConfig{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("NewTree = %v, want fs.ErrNotExist with %s", err, missing)
	}
	root := t.TempDir()
	makePod(t, root, "burstable", 1, 1)
	tree := newTestTree(t, root, TreeConfig{})
	refresh(t, tree)
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Refresh(); !errors.Is(err, errClosed) || len(tree.Cgroups()) != 0 {
		t.Errorf("a closed tree: %v, %d cgroups", err, len(tree.Cgroups()))
	}
	if tree.kept != 0 {
		t.Errorf("%d descriptors kept after Close", tree.kept)
	}
}

func TestTreeRefreshAllocatesNothing(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			root := t.TempDir()
			for n := range 10 {
				makePod(t, root, "burstable", n, 2)
			}
			tree := newTestTree(t, root, TreeConfig{Watch: watch})
			refresh(t, tree)
			if n := testing.AllocsPerRun(100, func() { refresh(t, tree) }); n != 0 {
				t.Errorf("%v allocations per refresh, want none", n)
			}
		})
	}
}
