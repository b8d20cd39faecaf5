// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func newTree(t *testing.T, spec kubetree.Spec) *kubetree.Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skipf("needs a cgroup2 file system at %s", cgroupRoot)
	}
	// A smaller program than this one, if it is there: a tree has hundreds of
	// processes, and under emulation each start of one counts.
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
	}{
		{"systemd containerd", kubetree.Spec{MemoryQoS: true}, 110, 2},
		{"cgroupfs cri-o", kubetree.Spec{Driver: kubetree.Cgroupfs, Runtime: kubetree.CRIO, Seed: 2}, 14, 1},
		{"kind docker", kubetree.Spec{CgroupRoot: "/kubelet", Runtime: kubetree.Docker, Seed: 3}, 14, 1},
	} {
		t.Run(layout.name, func(t *testing.T) {
			if testing.Short() && layout.pods > 14 {
				layout.pods, layout.each = 14, 2
			}
			tree := newTree(t, layout.spec)
			if _, err := tree.AddHostile(tree.Kubepods()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 18*time.Minute)
			defer cancel()
			if err := tree.Frozen(ctx, layout.pods, layout.each, func(s string) { t.Log(s) }); err != nil {
				t.Fatal(err)
			}
			a := start(t, settings(t))
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

// checkFacts holds what comes from processes and from two sweeps.
func checkFacts(t *testing.T, tree *kubetree.Tree, n node, got Series) {
	t.Helper()
	want := Series{}
	var ranks []float64
	scores := map[float64]float64{} // by rank
	for _, pod := range tree.Pods() {
		for _, c := range tree.Containers(pod) {
			labels := map[string]string{"pod": pod.UID, "qos": pod.QoS.String(), "container": c.ID[:12]}
			name := func(fact string) string { return labelled("slicewatch_container_"+fact, labels) }
			info := with(with(labels, "uid", pod.UID), "container_id", scheme(c.Path)+c.ID)
			want[labelled("slicewatch_container_info", info)] = 1
			want[name("starts_total")] = 1
			want[name("oom_score_adj")] = procNumber(t, c.PID, "oom_score_adj")
			want[name("cpu_peak_cores")] = 0
			current, _, _ := n.at(c.Path).Value("memory.current", "")
			highest, _, ok := n.at(c.Path).Value("memory.peak", "")
			if peak := got[name("memory_peak_bytes")]; peak < float64(current) || ok && peak > float64(highest) {
				t.Errorf("%s is %v, the use is %v and its peak ever %v", name("memory_peak_bytes"), peak, current, highest)
			}
			delete(got, name("memory_peak_bytes"))
			want[name("oom_score")] = highestScore(t, c.Path)
			rank := got[name("oom_rank")]
			ranks = append(ranks, rank)
			scores[rank] = want[name("oom_score")]
			delete(got, name("oom_rank"))
			// btime is in whole seconds.
			if start, truth := got[name("start_time_seconds")], procStart(t, c.PID); start < truth-1.1 || start > truth+1.1 {
				t.Errorf("%s is %f, its process started at %f", name("start_time_seconds"), start, truth)
			}
			delete(got, name("start_time_seconds"))
		}
	}
	facts := maps.Clone(got)
	maps.DeleteFunc(facts, func(name string, _ float64) bool { return !isFact(name) })
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Errorf("facts (-truth +exported):\n%s", shorten(diff))
	}
	slices.Sort(ranks)
	for i, rank := range ranks {
		if rank != float64(i+1) {
			t.Fatalf("ranks are not 1 to %d: %v", len(ranks), ranks)
		}
		if i > 0 && scores[rank] > scores[rank-1] {
			t.Errorf("rank %v has score %v, the one before it %v", rank, scores[rank], scores[rank-1])
		}
	}
}

func (n node) at(path string) truth.Cgroup {
	for _, c := range n.containers {
		if c.path == path {
			return c.truth
		}
	}
	return nil
}

// scheme is the runtime that a container's cgroup is named after, which
// containerd under the cgroupfs driver does not say.
func scheme(path string) string {
	for prefix, scheme := range map[string]string{"cri-containerd-": "containerd://", "crio-": "cri-o://", "docker-": "docker://"} {
		if strings.HasPrefix(filepath.Base(path), prefix) {
			return scheme
		}
	}
	return ""
}

func procNumber(t *testing.T, pid int, file string) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	v, err := strconv.ParseFloat(string(bytes.TrimSpace(raw)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// procStart is when a process started, in seconds of Unix time: field 22 of
// its stat, in hundredths of a second after the kernel's btime.
func procStart(t *testing.T, pid int) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		t.Fatal(err)
	}
	system, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(system)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "btime" {
			boot, err := strconv.ParseFloat(words[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return boot + ticks/100
		}
	}
	t.Fatal("/proc/stat has no btime")
	return 0
}

// highestScore is the highest oom_score of the processes of a cgroup and of
// those below it.
func highestScore(t *testing.T, dir string) float64 {
	t.Helper()
	highest := 0.0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil // a threaded cgroup: its processes are listed above it
		}
		for word := range bytes.FieldsSeq(raw) {
			pid, _ := strconv.Atoi(string(word))
			highest = max(highest, procNumber(t, pid, "oom_score"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return highest
}

// cadvisorDifferences holds the families of /metrics/cadvisor against the files
// of every cgroup from kubepods down, the sandboxes included.
func cadvisorDifferences(t *testing.T, tree *kubetree.Tree, a *Agent) string {
	t.Helper()
	all, err := a.Metrics("/metrics/cadvisor", "container_")
	if err != nil {
		t.Fatal(err)
	}
	got := Series{}
	want := Series{}
	known := cadvisorRows()
	for name, v := range all {
		family, _, _ := strings.Cut(name, "{")
		if _, checked := known[family]; checked {
			got[name] = v
		}
	}
	add := func(dir string, labels map[string]string) {
		c, err := truth.ReadCgroup(dir)
		if err != nil {
			t.Fatal(err)
		}
		labels["id"] = strings.TrimPrefix(dir, cgroupRoot)
		for family, value := range known {
			if v, ok := value(c); ok {
				if family == "container_cpu_usage_seconds_total" {
					want[labelled(family, with(labels, "cpu", "total"))] = v
					continue
				}
				want[labelled(family, labels)] = v
			}
		}
	}
	add(tree.Kubepods(), map[string]string{})
	add(sliceOf(tree, "burstable"), map[string]string{})
	add(sliceOf(tree, "besteffort"), map[string]string{})
	for _, pod := range tree.Pods() {
		add(pod.Path, map[string]string{"pod": pod.UID})
		add(pod.Sandbox.Path, map[string]string{"pod": pod.UID, "name": pod.Sandbox.ID})
		for _, c := range tree.Containers(pod) {
			add(c.Path, map[string]string{"pod": pod.UID, "container": c.ID[:12], "name": c.ID})
		}
	}
	return differences("/metrics/cadvisor", want, got)
}

// cadvisorRows says what the families that come straight from a file should be.
func cadvisorRows() map[string]func(truth.Cgroup) (float64, bool) {
	number := func(file, key string, div float64) func(truth.Cgroup) (float64, bool) {
		return func(c truth.Cgroup) (float64, bool) {
			v, isMax, ok := c.Value(file, key)
			return float64(v) / div, ok && !isMax
		}
	}
	withQuota := func(read func(truth.Cgroup) (float64, bool)) func(truth.Cgroup) (float64, bool) {
		return func(c truth.Cgroup) (float64, bool) {
			_, isMax, ok := c.Value("cpu.max", "quota")
			v, has := read(c)
			return v, has && ok && !isMax
		}
	}
	return map[string]func(truth.Cgroup) (float64, bool){
		"container_cpu_usage_seconds_total":               number("cpu.stat", "usage_usec", 1e6),
		"container_cpu_user_seconds_total":                number("cpu.stat", "user_usec", 1e6),
		"container_cpu_system_seconds_total":              number("cpu.stat", "system_usec", 1e6),
		"container_cpu_cfs_periods_total":                 withQuota(number("cpu.stat", "nr_periods", 1)),
		"container_cpu_cfs_throttled_periods_total":       withQuota(number("cpu.stat", "nr_throttled", 1)),
		"container_cpu_cfs_throttled_seconds_total":       withQuota(number("cpu.stat", "throttled_usec", 1e6)),
		"container_memory_usage_bytes":                    number("memory.current", "", 1),
		"container_memory_rss":                            number("memory.stat", "anon", 1),
		"container_memory_cache":                          number("memory.stat", "file", 1),
		"container_memory_max_usage_bytes":                number("memory.peak", "", 1),
		"container_memory_events_high_total":              number("memory.events", "high", 1),
		"container_memory_events_max_total":               number("memory.events", "max", 1),
		"container_oom_events_total":                      number("memory.events", "oom_kill", 1),
		"container_pressure_cpu_waiting_seconds_total":    number("cpu.pressure", "some total", 1e6),
		"container_pressure_cpu_stalled_seconds_total":    number("cpu.pressure", "full total", 1e6),
		"container_pressure_memory_waiting_seconds_total": number("memory.pressure", "some total", 1e6),
		"container_spec_cpu_quota":                        withQuota(number("cpu.max", "quota", 1)),
	}
}
