// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// TestCadvisor checks every series of /metrics/cadvisor against the API
// server's names and the cgroup's files, from kubepods down to the containers.
func TestCadvisor(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	agree(t, 40, func() (map[string]string, int) { return cadvisorProblems(t, c, agent) })
}

func cadvisorProblems(t *testing.T, c *cluster.Cluster, agent *Agent) (problems map[string]string, compared int) {
	t.Helper()
	running := Running(podsOfNode(t, c))
	before := cgroups(t, c)
	// What this returns was read after the call.
	if _, err := agent.ScrapeAfter(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := agent.ScrapePath(t.Context(), "/metrics/cadvisor")
	if err != nil {
		t.Fatal(err)
	}
	after := cgroups(t, c)
	exported := map[string]map[string]string{}
	for _, one := range s.Named("container_memory_usage_bytes") {
		exported[one.Labels["id"]] = one.Labels
	}
	problems = map[string]string{}
	for where, labels := range CadvisorLabels(before, running) {
		if after.Cgroups[where] == nil {
			continue
		}
		if diff := cmp.Diff(labels, exported["/"+where]); diff != "" {
			problems["labels of "+where] = fmt.Sprintf("labels of %s (-want +got):\n%s", where, diff)
			continue
		}
		compared++
		for _, difference := range Compare(cadvisorFiles(before, where), cadvisorFiles(after, where),
			Exported(s, "container_", labels), ofCadvisorAlone) {
			key, _, _ := strings.Cut(difference, " ")
			if labels["pod"] == workloads.High && strings.HasPrefix(key, "memory_") {
				continue
			}
			problems[where+" "+key] = where + ": " + difference
		}
	}
	for id := range exported {
		where := strings.TrimPrefix(id, "/")
		if before.Cgroups[where] == nil && after.Cgroups[where] == nil {
			problems[id] = id + " has series and is no cgroup"
		}
	}
	return problems, compared
}

// cadvisorFiles computes the measures with the number of processes, which only
// containers' own cgroups have.
func cadvisorFiles(tree guestapi.Tree, where string) Measures {
	m := CadvisorMeasures(tree.Cgroups[where])
	m["processes"] = float64(len(strings.Fields(tree.Cgroups[where]["cgroup.procs"])))
	return m
}

// ofCadvisorAlone tells what is not from cgroup files.
func ofCadvisorAlone(key string) bool {
	return slices.Contains([]string{"start_time_seconds", "last_seen"}, key)
}

func TestCadvisorMeasures(t *testing.T) {
	files := throttledFiles()
	files["memory.peak"], files["memory.events.local"] = "4096\n", "max 9\n"
	m := CadvisorMeasures(files)
	for key, want := range map[string]float64{
		"cpu_usage_seconds_total{cpu=total}": 0.0003, "cpu_cfs_throttled_seconds_total": 2, "memory_rss": 10,
		"memory_working_set_bytes": 700, "memory_max_usage_bytes": 4096, "memory_failcnt": 9, "oom_events_total": 4,
		"pressure_cpu_stalled_seconds_total": 0.5, "spec_cpu_quota": 20000, "spec_cpu_period": 200000,
		"spec_cpu_shares": 80, "spec_memory_limit_bytes": 33554432, "fs_reads_bytes_total": 105,
	} {
		if got, ok := m[key]; !ok || got != want {
			t.Errorf("%s = %v (there: %v), want %v", key, got, ok, want)
		}
	}
	files["cpu.max"], files["memory.max"] = "max 100000\n", "max\n"
	m = CadvisorMeasures(files)
	for key := range m {
		if strings.Contains(key, "cfs") || key == "spec_cpu_quota" {
			t.Errorf("%s exists without a quota", key)
		}
	}
	if got := m["spec_memory_limit_bytes"]; got != 0 {
		t.Errorf("spec_memory_limit_bytes = %v without a limit, want 0", got)
	}
}

func TestCadvisorLabels(t *testing.T) {
	const pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu.slice"
	tree := guestapi.Tree{Cgroups: map[string]map[string]string{
		"kubepods.slice": {}, "kubepods.slice/kubepods-burstable.slice": {}, pod: {},
		pod + "/cri-containerd-11.scope": {}, pod + "/cri-containerd-22.scope": {},
		pod + "/cri-containerd-11.scope/below": {}, "kubepods.slice/kubepods-podunknown.slice": {},
	}}
	got := CadvisorLabels(tree, []Container{{Namespace: "n", Pod: "p", Name: "c", ID: "containerd://11", Image: "i"}})
	var lines []string
	for _, where := range slices.Sorted(maps.Keys(got)) {
		l := got[where]
		lines = append(lines, strings.Join([]string{l["id"], l["namespace"], l["pod"], l["container"], l["image"], l["name"]}, "|"))
	}
	want := []string{
		"/kubepods.slice|||||", "/kubepods.slice/kubepods-burstable.slice|||||", "/" + pod + "|n|p|||",
		"/" + pod + "/cri-containerd-11.scope|n|p|c|i|11",
		"/" + pod + "/cri-containerd-22.scope|n|p||slicewatch.test/pause:1|22",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("CadvisorLabels (-want +got):\n%s", diff)
	}
}
