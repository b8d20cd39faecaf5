// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
)

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
