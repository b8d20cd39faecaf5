// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
)

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
		labels["id"] = strings.TrimPrefix(dir, treetest.Root)
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
