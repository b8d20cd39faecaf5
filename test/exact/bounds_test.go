// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// bare is a pod's cgroup that no Tree knows, without processes or limits.
type bare struct {
	uid, path  string
	containers []string
}

// makeBare makes pods of so many containers in the slice of a class, as fast
// as the kernel can, and removes them after the test.
func makeBare(t *testing.T, tree *kubetree.Tree, seed uint64, pods, each int) []bare {
	t.Helper()
	slice := tree.Slice(cgroupfs.BestEffort)
	var made []bare
	t.Cleanup(func() { removeBare(t, made) })
	for i := range pods {
		uid := kubetree.UID(seed, fmt.Sprint(i))
		b := bare{uid: uid, path: filepath.Join(slice, "kubepods-besteffort-pod"+strings.ReplaceAll(uid, "-", "_")+".slice")}
		if err := os.Mkdir(b.path, 0o755); err != nil {
			t.Fatal(err)
		}
		made = append(made, b)
		if each == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(b.path, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0); err != nil {
			t.Fatal(err)
		}
		for j := range each {
			c := filepath.Join(b.path, "cri-containerd-"+kubetree.ContainerID(seed, uid, fmt.Sprint(j), 0)+".scope")
			if err := os.Mkdir(c, 0o755); err != nil {
				t.Fatal(err)
			}
			made[i].containers = append(made[i].containers, c)
		}
	}
	return made
}

func removeBare(t *testing.T, pods []bare) {
	t.Helper()
	for _, b := range pods {
		for _, dir := range append(b.containers, b.path) {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	}
}

// TestFewDescriptors gives the agent fewer descriptors than there are pods.
func TestFewDescriptors(t *testing.T) {
	long.Only(t, "takes minutes and depends on no kernel version")
	const limit, pods = 256, 260
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	fillAndFreeze(t, tree)
	var besides []cgroup
	for _, b := range makeBare(t, tree, 7, pods, 0) {
		c, err := truth.ReadCgroup(b.path)
		if err != nil {
			t.Fatal(err)
		}
		besides = append(besides, cgroup{labels: map[string]string{"pod": b.uid, "qos": "besteffort"}, truth: c, path: b.path})
	}
	cfg := settings(t)
	cfg.OpenFiles = limit
	cfg.Flags = []string{"--bpf=off"} // eBPF would need few files
	a := start(t, cfg)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", a.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max open files") && (f[3] != fmt.Sprint(limit) || f[4] != fmt.Sprint(limit)) {
			t.Fatalf("the agent's limit is another one: %s", line)
		}
	}
	compareFrozen(t, tree, a, besides...)
	if v := about(t, a, "slicewatch_cgroup_files_opened_anew_total{}"); v == 0 {
		t.Error("slicewatch_cgroup_files_opened_anew_total is 0: the limit did not bite")
	}
	open := 0
	for _, n := range descriptors(t, a) {
		open += n
	}
	// What is left is for scrapes, at least.
	if open > limit*3/4 {
		t.Errorf("%d of %d descriptors are in use: %v", open, limit, descriptors(t, a))
	}
	if log := a.Log(); strings.Contains(log, "too many open files") {
		t.Errorf("the agent ran out of descriptors:\n%s", log)
	}
	for _, reason := range []string{"read", "tree", "processes"} {
		series, err := a.Metrics("/metrics", "slicewatch_sweep_errors_total")
		if err != nil {
			t.Fatal(err)
		}
		if v := series[fmt.Sprintf("slicewatch_sweep_errors_total{reason=%q}", reason)]; v != 0 {
			t.Errorf("%v sweep errors %q", v, reason)
		}
	}
	quiet(t, a)
}

// descriptors counts what an agent has open, by kind.
func descriptors(t *testing.T, a *Agent) map[string]int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", a.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(target, treetest.Root):
			kinds["cgroup"]++
		case strings.HasPrefix(target, "socket:"):
			kinds["socket"]++
		default:
			kinds["other"]++
		}
	}
	return kinds
}

// TestDescriptorsAfterRestarts restarts a container 200 times and counts the
// descriptors before and after.
func TestDescriptorsAfterRestarts(t *testing.T) {
	sameOnAllKernels(t)
	const restarts = 200
	tree := treetest.New(t, kubetree.Spec{})
	for i := range 4 {
		if _, err := tree.AddPod(kubetree.PodSpec{Name: fmt.Sprint(i), Containers: []kubetree.ContainerSpec{
			{Name: "a", Resources: kubetree.Resources{MemoryLimitBytes: 32 << 20}, Work: work.Cmd("hold bytes=64Ki")},
			{Name: "b", Resources: kubetree.Resources{CPULimitMilli: 500}, Work: work.Cmd("idle")},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, settings(t))
	settle := func() map[string]int {
		t.Helper()
		last := map[string]int{}
		for range 20 {
			nextSweep(t, a)
			now := descriptors(t, a)
			if maps.Equal(last, now) {
				return now
			}
			last = now
		}
		t.Fatalf("the agent's descriptors do not stand still: %v", last)
		return nil
	}
	before := settle()
	kept := about(t, a, "slicewatch_cgroup_files_open{}")
	for i := range restarts {
		pod := tree.Pods()[i%4]
		if _, err := tree.RestartContainer(tree.Containers(pod)[0]); err != nil {
			t.Fatal(err)
		}
	}
	after := settle()
	// A scrape's connection comes and goes by the client's rules.
	delete(before, "socket")
	delete(after, "socket")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("descriptors after %d restarts (-before +after):\n%s", restarts, diff)
	}
	if now := about(t, a, "slicewatch_cgroup_files_open{}"); now != kept {
		t.Errorf("slicewatch_cgroup_files_open went from %v to %v", kept, now)
	}
	t.Logf("%v after %d restarts", after, restarts)
}

// TestMemoryAfterChurn lets 260 containers come and go, waits until they are no
// longer retained, and does so again: by then the agent must not have more
// memory than the first time.
func TestMemoryAfterChurn(t *testing.T) {
	long.Only(t, "takes minutes and depends on no kernel version")
	const batches, rounds, pods, each = 2, 10, 13, 2
	const retention = time.Minute // the least there is
	tree := treetest.New(t, kubetree.Spec{})
	cfg := settings(t)
	cfg.Flags = []string{"--retention=" + retention.String()}
	cfg.SampleInterval = 250 * time.Millisecond
	a := start(t, cfg)
	var rss, peak []float64
	for batch := range batches {
		highest := 0.0
		for round := range rounds {
			made := makeBare(t, tree, uint64(1000*batch+round+1), pods, each)
			nextSweep(t, a)
			removeBare(t, made)
			nextSweep(t, a)
			highest = max(highest, residentKiB(t, a))
		}
		if v := about(t, a, "slicewatch_retained_series{}"); v == 0 {
			t.Error("the agent retains nothing of what came and went")
		}
		time.Sleep(retention)
		nextSweep(t, a)
		nextSweep(t, a)
		for name, want := range map[string]float64{
			"slicewatch_retained_series{}":               0,
			"slicewatch_retained_series_dropped_total{}": 0,
			`slicewatch_cgroups{level="pod"}`:            0,
			`slicewatch_cgroups{level="container"}`:      0,
		} {
			if v := about(t, a, name); v != want {
				t.Errorf("batch %d: %s is %v, want %v", batch, name, v, want)
			}
		}
		rss, peak = append(rss, residentKiB(t, a)), append(peak, highest)
	}
	for what, kib := range map[string][]float64{"resident": rss, "highest": peak} {
		if ratio := kib[1] / kib[0]; ratio > 1.25 {
			t.Errorf("%s memory went up by the factor %.2f: %v KiB", what, ratio, kib)
		}
	}
	t.Logf("resident after each %d containers: %v KiB, highest meanwhile: %v KiB", rounds*pods*each, rss, peak)
}

// residentKiB is the agent's VmRSS.
func residentKiB(t *testing.T, a *Agent) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			v, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatal("the agent has no VmRSS")
	return 0
}

// manyWord is an environment variable, or a word of the kernel's command line,
// that says how many cgroups TestManyCgroups makes.
const manyWord = "SLICEWATCH_TEST_CGROUPS"

func many(t *testing.T) int {
	t.Helper()
	words := strings.Fields(manyWord + "=" + os.Getenv(manyWord))
	if raw, err := os.ReadFile("/proc/cmdline"); err == nil {
		words = append(words, strings.Fields(string(raw))...)
	}
	n := 3000
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, manyWord+"="); ok && value != "" {
			v, err := strconv.Atoi(value)
			if err != nil {
				t.Fatalf("%s: %v", manyWord, err)
			}
			n = v
		}
	}
	return n
}

// TestManyCgroups makes many times what a node has. Each pod has nine
// containers: ten cgroups.
func TestManyCgroups(t *testing.T) {
	sameOnAllKernels(t)
	n := many(t)
	const each = 9
	pods := n / (each + 1)
	tree := treetest.New(t, kubetree.Spec{})
	began := time.Now()
	made := makeBare(t, tree, 9, pods, each)
	t.Logf("%d cgroups made in %v", n, time.Since(began).Round(time.Second))
	began = time.Now()
	a := start(t, settings(t))
	t.Logf("first sweep after %v (emulated)", time.Since(began).Round(time.Second))
	for name, want := range map[string]float64{
		`slicewatch_cgroups{level="pod"}`:       float64(pods),
		`slicewatch_cgroups{level="container"}`: float64(pods * each),
		`slicewatch_ignored_cgroups{}`:          0,
	} {
		if v := about(t, a, name); v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	// Without a process no container can be told from a sandbox, so of these the
	// pods alone have series.
	series := metrics(t, a)
	for _, b := range made {
		name := labelled("slicewatch_pod_memory_usage_bytes", map[string]string{"pod": b.uid, "qos": "besteffort"})
		if _, ok := series[name]; !ok {
			t.Errorf("%s is not exported", name)
		}
	}
	if after := strings.Count(a.Log(), "level=ERROR"); after > 0 {
		t.Errorf("%d errors were logged", after)
	}
	late := "slicewatch_sweeps_late_total{}"
	// A sweep of fewer may well be in time.
	for deadline := time.Now().Add(10 * time.Minute); n >= 20_000 && about(t, a, late) == 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is 0", late)
		}
	}
	t.Logf("%d series; resident %.0f MiB, %v late sweeps, descriptors %v", len(series), residentKiB(t, a)/1024,
		about(t, a, late), descriptors(t, a))
	t.Logf("watches %v, failed %v, files opened anew %v", about(t, a, "slicewatch_inotify_watches{}"),
		about(t, a, "slicewatch_inotify_watches_failed_total{}"), about(t, a, "slicewatch_cgroup_files_opened_anew_total{}"))
	t.Logf("the agent's log:\n%s", a.Log())
}
