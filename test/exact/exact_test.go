// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func settings(t *testing.T) Config { return Config{StateDir: t.TempDir()} }

func start(t *testing.T, cfg Config) *Agent {
	t.Helper()
	a, err := StartAgent(cfg)
	if errors.Is(err, ErrNoBinary) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Kill()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", a.Log())
		}
	})
	return a
}

// levelPrefixes are the families that come from cgroup files.
var levelPrefixes = []string{"slicewatch_container_", "slicewatch_pod_", "slicewatch_qos_", "slicewatch_kubepods_"}

func metrics(t *testing.T, a *Agent) Series {
	t.Helper()
	series, err := a.Metrics("/metrics", levelPrefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return series
}

// nextSweep waits until a sweep that began after now was published.
func nextSweep(t *testing.T, a *Agent) {
	t.Helper()
	since := float64(time.Now().UnixNano()) / 1e9
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s, err := a.Metrics("/metrics", "slicewatch_snapshot_timestamp_seconds")
		if err != nil {
			t.Fatal(err)
		}
		if s["slicewatch_snapshot_timestamp_seconds{}"] > since {
			return
		}
	}
	t.Fatal("no sweep in a minute")
}

// readNode reads the whole tree, knowing from its maker what is what. What
// Guaranteed used is a difference: on a tree that works it comes out too low
// when kubepods is read first, and too high when it is read last.
func readNode(t *testing.T, tree *kubetree.Tree, kubepodsLast bool) node {
	t.Helper()
	read := func(dir string) truth.Cgroup {
		c, err := truth.ReadCgroup(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	n := node{slices: map[string]truth.Cgroup{}}
	if !kubepodsLast {
		n.kubepods = read(tree.Kubepods())
	}
	for _, class := range []string{"burstable", "besteffort"} {
		n.slices[class] = read(sliceOf(tree, class))
	}
	for _, pod := range tree.Pods() {
		labels := map[string]string{"pod": pod.UID, "qos": pod.QoS.String()}
		n.pods = append(n.pods, cgroup{labels, read(pod.Path), pod.Path})
		for _, c := range tree.Containers(pod) {
			n.containers = append(n.containers, cgroup{with(labels, "container", c.ID[:12]), read(c.Path), c.Path})
		}
	}
	if kubepodsLast {
		n.kubepods = read(tree.Kubepods())
	}
	return n
}

func sliceOf(tree *kubetree.Tree, class string) string {
	entries, _ := filepath.Glob(tree.Kubepods() + "/*" + class + "*")
	for _, e := range entries {
		if !strings.Contains(filepath.Base(e), "pod"+class) && !strings.Contains(filepath.Base(e), "-pod") {
			return e
		}
	}
	return ""
}

// sameOnAllKernels skips, where only what differs between kernels is asked for.
func sameOnAllKernels(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("depends on no kernel version: it runs on the newest one, and without -short")
	}
}

// factFamilies are of containers but not of one cgroup file.
func isFact(name string) bool {
	for _, fact := range []string{"info", "start_time_seconds", "starts_total", "oom_score", "oom_score_adj", "oom_rank", "cpu_peak_cores", "memory_peak_bytes"} {
		if strings.HasPrefix(name, "slicewatch_container_"+fact+"{") {
			return true
		}
	}
	return false
}

func withoutFacts(s Series) Series {
	s = maps.Clone(s)
	maps.DeleteFunc(s, func(name string, _ float64) bool { return isFact(name) })
	return s
}

// TestFrozenTree holds every exported sample against its file on a tree that
// stands still: all levels, all families, none missing, none too many.
func TestFrozenTree(t *testing.T) {
	for _, layout := range []struct {
		name       string
		spec       kubetree.Spec
		pods, each int
		bpf        string
	}{
		{"systemd containerd", kubetree.Spec{MemoryQoS: true}, 110, 2, "off"},
		{"cgroupfs cri-o", kubetree.Spec{Driver: kubetree.Cgroupfs, Runtime: kubetree.CRIO, Seed: 2}, 14, 1, "auto"},
		{"kind docker", kubetree.Spec{CgroupRoot: "/kubelet", Runtime: kubetree.Docker, Seed: 3}, 14, 1, "required"},
	} {
		t.Run(layout.name, func(t *testing.T) {
			if layout.pods > 14 {
				layout.pods = frozenPods()
			}
			tree := treetest.New(t, layout.spec)
			if _, err := tree.AddHostile(tree.Kubepods()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 18*time.Minute)
			defer cancel()
			if err := tree.Frozen(ctx, layout.pods, layout.each, func(s string) { t.Log(s) }); err != nil {
				t.Fatal(err)
			}
			cfg := settings(t)
			cfg.Flags = []string{"--bpf=" + layout.bpf}
			a := start(t, cfg)
			mustReadThrough(t, a, layout.bpf != "off")
			var got Series
			var n node
			whileStill(t, tree, func() string {
				nextSweep(t, a)
				nextSweep(t, a)
				got, n = metrics(t, a), readNode(t, tree, false)
				return differences("/metrics", n.expect(), withoutFacts(got)) + cadvisorDifferences(t, tree, a)
			})
			checkFacts(t, tree, n, got)
			t.Logf("%d series of %d pods and %d containers", len(got), len(n.pods), len(n.containers))
		})
	}
}

// frozenPods is how many pods stand still: a full node of them takes an emulated
// machine nine minutes.
func frozenPods() int {
	switch {
	case long.Asked():
		return 110
	case testing.Short():
		return 14
	}
	return 30
}

// whileStill calls compare, which returns what it found wrong, until no file of
// the tree changed meanwhile. Even a frozen tree's do now and then: the kernel
// gives back memory that it charged to a cgroup ahead of need
// (mm/memcontrol.c, drain_stock).
func whileStill(t *testing.T, tree *kubetree.Tree, compare func() string) {
	t.Helper()
	read := func() truth.Tree {
		files, err := truth.ReadTree(tree.Kubepods())
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	const attempts = 10
	before := read()
	for range attempts {
		wrong := compare()
		after := read()
		moved := slices.DeleteFunc(truth.Compare(before, after), func(c truth.Change) bool { return strings.Contains(c.Key, " avg") })
		if len(moved) == 0 {
			if wrong != "" {
				t.Error(wrong)
			}
			return
		}
		t.Logf("compared anew, as the frozen tree moved: %v", moved[0])
		before = after
	}
	t.Fatal("the frozen tree never stood still")
}

// differences says where an exposition and the files differ; empty if nowhere.
func differences(page string, files, exported Series) string {
	if diff := cmp.Diff(files, exported); diff != "" {
		return page + " against the files (-files +exported):\n" + shorten(diff)
	}
	return ""
}

func shorten(diff string) string {
	const most = 6000
	if len(diff) > most {
		return diff[:most] + "\n..."
	}
	return diff
}
