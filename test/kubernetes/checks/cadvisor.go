// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"path"
	"strconv"
	"strings"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/nodeimage"
)

// CadvisorMeasures computes from a cgroup's files what /metrics/cadvisor is to
// have for it, in Key's spelling without the prefix container_.
func CadvisorMeasures(files map[string]string) Measures {
	m := Measures{}
	cpu, stat := flat(files["cpu.stat"]), flat(files["memory.stat"])
	m.known(Key("cpu_usage_seconds_total", "cpu", "total"), cpu, "usage_usec", micros)
	m.known("cpu_user_seconds_total", cpu, "user_usec", micros)
	m.known("cpu_system_seconds_total", cpu, "system_usec", micros)
	if hasQuota(files) {
		m.known("cpu_cfs_periods_total", cpu, "nr_periods", 1)
		m.known("cpu_cfs_throttled_periods_total", cpu, "nr_throttled", 1)
		m.known("cpu_cfs_throttled_seconds_total", cpu, "throttled_usec", micros)
		m.known("cpu_cfs_burst_periods_total", cpu, "nr_bursts", 1)
		m.known("cpu_cfs_burst_seconds_total", cpu, "burst_usec", micros)
	}
	m.single("memory_usage_bytes", files["memory.current"])
	m.single("memory_max_usage_bytes", files["memory.peak"])
	m.known("memory_rss", stat, "anon", 1)
	m.known("memory_cache", stat, "file", 1)
	m["memory_working_set_bytes"] = max(0, m["memory_usage_bytes"]-stat["inactive_file"])
	events := flat(files["memory.events"])
	m.known("memory_failcnt", flat(files["memory.events.local"]), "max", 1)
	m.known("memory_events_high_total", events, "high", 1)
	m.known("memory_events_max_total", events, "max", 1)
	m.known("oom_events_total", events, "oom_kill", 1)
	for _, resource := range []string{"cpu", "memory", "io"} {
		for kind, seconds := range stalled(files[resource+".pressure"]) {
			word := map[string]string{"some": "waiting", "full": "stalled"}[kind]
			m["pressure_"+resource+"_"+word+"_seconds_total"] = seconds
		}
	}
	read, write := transferred(files["io.stat"])
	m["fs_reads_bytes_total"], m["fs_writes_bytes_total"] = read, write
	m.specify(files)
	return m
}

// specify adds what is set and not measured.
func (m Measures) specify(files map[string]string) {
	if quota := strings.Fields(files["cpu.max"]); len(quota) == 2 {
		m.single("spec_cpu_quota", quota[0])
		m.single("spec_cpu_period", quota[1])
	}
	if weight, err := strconv.Atoi(strings.TrimSpace(files["cpu.weight"])); err == nil {
		// google/cadvisor, lib/container/common/helpers.go
		m["spec_cpu_shares"] = float64(2 + (weight-1)*262142/9999)
	}
	m["spec_memory_limit_bytes"] = 0 // without a limit
	m.single("spec_memory_limit_bytes", files["memory.max"])
}

// CadvisorLabels returns the labels that the series of every cgroup from
// kubepods down to the containers are to have, by the cgroup's path. What is
// no container of the API server's in a pod is its sandbox.
func CadvisorLabels(tree guestapi.Tree, running []Container) map[string]map[string]string {
	byID := map[string]Container{}
	for _, c := range running {
		byID[bareID(c.ID)] = c
	}
	all := map[string]map[string]string{}
	podOf := map[string]Container{}
	for where := range tree.Cgroups {
		if c, ok := byID[runtimeID(where)]; ok {
			podOf[path.Dir(where)] = c
		}
	}
	for where := range tree.Cgroups {
		labels := map[string]string{"id": "/" + where, "namespace": "", "pod": "", "container": "", "image": "", "name": ""}
		pod, isPod := podOf[where]
		above, inPod := podOf[path.Dir(where)]
		switch {
		case isPod:
			labels["namespace"], labels["pod"] = pod.Namespace, pod.Pod
		case inPod:
			id := runtimeID(where)
			labels["namespace"], labels["pod"], labels["name"] = above.Namespace, above.Pod, id
			labels["image"] = nodeimage.PauseImage
			if c, known := byID[id]; known {
				labels["container"], labels["image"] = c.Name, c.Image
			}
		case !isSlice(where):
			// Of a pod without a running container.
			continue
		}
		all[where] = labels
	}
	return all
}

// runtimeID is the container's id in a container's cgroup's path.
func runtimeID(where string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path.Base(where), "cri-containerd-"), ".scope")
}

// isSlice tells kubepods and the cgroups of the QoS classes.
func isSlice(where string) bool {
	switch path.Base(where) {
	case "kubepods", "burstable", "besteffort", "kubepods.slice", "kubepods-burstable.slice", "kubepods-besteffort.slice":
		return true
	}
	return false
}
