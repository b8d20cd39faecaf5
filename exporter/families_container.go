// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// containerFamilies returns what only containers have.
func containerFamilies() []family {
	families := containerFacts()
	families = append(families, containerPeaks()...)
	families = append(families, containerOOMFacts()...)
	families = append(families, containerDurations()...)
	for i := range families {
		families[i].level = levelContainer
	}
	return families
}

func containerFacts() []family {
	return []family{
		{
			name: "slicewatch_container_info", kind: gauge,
			help:   "Always 1. Its labels say which container the series of the same namespace, pod and container speak of now.",
			labels: []string{"container_id", "container_type", "image", "uid", "workload", "workload_kind"},
			source: "Kubernetes and the container runtime",
			series: []series{{
				dynamic: containerInfo,
				render:  renderContainerInfo,
				value:   func(*subject) (float64, bool) { return 1, true },
			}},
		}, {
			name: "slicewatch_container_start_time_seconds", kind: gauge, unit: unitSeconds,
			help:   "When the newest incarnation of the container started, in seconds since 1970.",
			source: "start of the main process",
			series: []series{{value: func(s *subject) (float64, bool) { return unixSeconds(s.container.Started) }}},
		}, {
			name: "slicewatch_container_starts_total", kind: counter,
			help:   "How many times the container was started; its counters go on over restarts.",
			source: "cgroups that appeared",
			series: []series{number(func(s *subject) float64 { return float64(s.container.Starts) })},
		}, {
			name: "slicewatch_container_cpu_request_cores", kind: gauge, unit: unitCores,
			help:   "CPU request of the container as it holds now, in-place resizes included.",
			source: "Kubernetes",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount {
				return s.container.Identity.CPURequestMillis
			}, 1e3))},
		}, {
			name: "slicewatch_container_memory_request_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory request of the container as it holds now, in-place resizes included.",
			source: "Kubernetes",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount {
				return s.container.Identity.MemoryRequestBytes
			}, 1))},
		},
	}
}

func containerPeaks() []family {
	return []family{
		{
			name: "slicewatch_container_cpu_peak_cores", kind: gauge, unit: unitCores,
			help:   "Highest CPU use of the container over any one sample interval in the trailing minute.",
			source: "cpu.stat usage_usec, sampled",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.container.CPUPeakMicros }, microsPerSecond)},
		}, {
			name: "slicewatch_container_memory_peak_bytes", kind: gauge, unit: unitBytes,
			help:   "Highest memory usage of the container in the trailing minute.",
			source: "memory.current, sampled; memory.peak where it rose in that minute",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.container.MemoryPeakBytes }, 1)},
		},
	}
}

func containerOOMFacts() []family {
	return []family{
		{
			name: "slicewatch_container_oom_score_adj", kind: gauge,
			help:   "OOM score adjustment of the container's main process, -1000 to 1000.",
			source: "/proc/PID/oom_score_adj",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount { return s.container.OOMScoreAdj }, 1))},
		}, {
			name: "slicewatch_container_oom_score_adj_expected", kind: gauge,
			help: "OOM score adjustment that the kubelet's rule gives for this pod on this node. " +
				"That for sidecars holds from Kubernetes 1.29 on, that for pod-level resources from 1.32.",
			source: "Kubernetes and the node's memory",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount {
				return s.container.Identity.OOMScoreAdjExpected
			}, 1))},
		}, {
			name: "slicewatch_container_oom_score", kind: gauge,
			help:   "The kernel's badness of the container: the highest of its processes'.",
			source: "/proc/PID/oom_score",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount { return s.container.OOMScore }, 1))},
		}, {
			name: "slicewatch_container_oom_rank", kind: gauge,
			help:   "Place of the container among those that the kernel would kill if the node ran out of memory now; 1 is the first.",
			source: "the containers' badness, compared",
			series: []series{when(isAlive, amount(func(s *subject) snapshot.Amount { return s.container.OOMRank }, 1))},
		},
	}
}

func containerDurations() []family {
	return []family{
		{
			name: "slicewatch_container_cpu_throttle_duration_seconds", kind: histogram, unit: unitSeconds,
			help:   "How long the container was held at a stretch because its CPU quota was used up: from when the first of its CPUs was held until none was. One that goes on for more than 10 s counts in pieces of 10 s.",
			source: "eBPF: unthrottle_cfs_rq",
			series: []series{{histogram: func(s *subject) *snapshot.Histogram { return s.container.ThrottleDurations }}},
		}, {
			name: "slicewatch_container_memory_stall_duration_seconds", kind: histogram, unit: unitSeconds, labels: []string{"cause"},
			help:   "How long a task of the container was held at a time: slowed down beyond memory.high, its reclaim included (cause=high), or reclaiming because it hit a memory limit: of the container, its pod, or another cgroup above or below (cause=limit).",
			source: "eBPF: mem_cgroup_handle_over_high; mm_vmscan_memcg_reclaim",
			series: []series{
				{values: []string{"high"}, histogram: func(s *subject) *snapshot.Histogram { return s.container.StallsHigh }},
				{values: []string{"limit"}, histogram: func(s *subject) *snapshot.Histogram { return s.container.StallsLimit }},
			},
		},
	}
}

func isAlive(s *subject) bool { return s.container.Ended.IsZero() }

// podFamilies returns what only pods have.
func podFamilies() []family {
	return []family{{
		name: "slicewatch_pod_cpu_request_cores", kind: gauge, unit: unitCores, level: levelPod,
		help:   "CPU request of the pod itself (pod-level resources), in-place resizes included. Absent where only its containers have requests.",
		source: "Kubernetes",
		series: []series{detail(when(isPodAlive, amount(func(s *subject) snapshot.Amount { return s.pod.Identity.CPURequestMillis }, 1e3)))},
	}, {
		name: "slicewatch_pod_memory_request_bytes", kind: gauge, unit: unitBytes, level: levelPod,
		help:   "Memory request of the pod itself (pod-level resources), in-place resizes included. Absent where only its containers have requests.",
		source: "Kubernetes",
		series: []series{detail(when(isPodAlive, amount(func(s *subject) snapshot.Amount { return s.pod.Identity.MemoryRequestBytes }, 1)))},
	}}
}

func isPodAlive(s *subject) bool { return s.pod.Ended.IsZero() }

// containerInfo appends what the labels of slicewatch_container_info are made
// of, without building a string: it runs for every container at every scrape.
func containerInfo(s *subject, parts []string) []string {
	c, id := s.container, s.container.Identity
	return append(parts, c.Runtime, c.ContainerID, string(id.Type), id.Image, id.PodUID, id.Workload, id.WorkloadKind)
}

// renderContainerInfo turns what containerInfo appended into label values. A
// container's id is spelled as in the Kubernetes API ("containerd://<id>"), or
// bare while its runtime is not known.
func renderContainerInfo(parts []string) []string {
	runtime, values := parts[0], append([]string(nil), parts[1:]...)
	if runtime != "" && values[0] != "" {
		values[0] = runtime + "://" + values[0]
	}
	return values
}
