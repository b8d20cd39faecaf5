// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"slices"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// cadvisorFamilies returns the families of /metrics/cadvisor: names, labels
// and meanings of cAdvisor as the kubelet serves it (google/cadvisor,
// lib/metrics/prometheus.go).
func cadvisorFamilies() []family {
	families := slices.Concat(cadvisorCPU(), cadvisorMemory(), cadvisorPressure(), cadvisorSpec(), cadvisorOther())
	for i := range families {
		families[i].level = levelCgroup
	}
	return append(families,
		family{
			name: "machine_cpu_cores", kind: gauge, level: levelMachine,
			help:   "Number of logical CPU cores.",
			source: "/sys/devices/system/cpu/online",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.CPUs }, 1)},
		},
		family{
			name: "machine_memory_bytes", kind: gauge, unit: unitBytes, level: levelMachine,
			help:   "Memory of the machine.",
			source: "/proc/meminfo MemTotal",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.MemoryBytes }, 1)},
		})
}

// appendCgroupLabels appends the labels that the kubelet gives cAdvisor's
// series: slices have only id, a pod's cgroup has no container, and a sandbox
// has a name and an image but no container.
func appendCgroupLabels(values []string, s *subject) []string {
	switch {
	case s.container != nil:
		c := s.container
		name := c.Identity.Name
		if c.Sandbox {
			name = ""
		}
		return append(values, c.Path, c.Identity.Namespace, c.Identity.Pod, name, c.Identity.Image, c.ContainerID)
	case s.pod != nil:
		return append(values, s.pod.Path, s.pod.Identity.Namespace, s.pod.Identity.Name, "", "", "")
	default:
		return append(values, s.slice.Path, "", "", "", "", "")
	}
}

func cadvisorCPU() []family {
	cfs := func(name, unit string, f cgroupfs.Field, help string) family {
		return family{name: name, kind: counter, unit: unit, help: help, series: []series{when(hasQuota, current(f))}}
	}
	return []family{
		{
			name: "container_cpu_usage_seconds_total", kind: counter, unit: unitSeconds, labels: []string{"cpu"},
			help:   "CPU time used.",
			series: []series{current(cgroupfs.CPUUsage, "total")},
		}, {
			name: "container_cpu_user_seconds_total", kind: counter, unit: unitSeconds,
			help:   "CPU time used in user mode.",
			series: []series{current(cgroupfs.CPUUser)},
		}, {
			name: "container_cpu_system_seconds_total", kind: counter, unit: unitSeconds,
			help:   "CPU time used in system mode.",
			series: []series{current(cgroupfs.CPUSystem)},
		},
		cfs("container_cpu_cfs_periods_total", "", cgroupfs.CPUPeriods, "CFS periods with something to run; only with a quota."),
		cfs("container_cpu_cfs_throttled_periods_total", "", cgroupfs.CPUThrottledPeriods, "CFS periods with throttling; only with a quota."),
		cfs("container_cpu_cfs_throttled_seconds_total", unitSeconds, cgroupfs.CPUThrottled, "Time spent throttled; only with a quota."),
		cfs("container_cpu_cfs_burst_periods_total", "", cgroupfs.CPUBurstPeriods, "CFS periods beyond the quota; only with a quota."),
		cfs("container_cpu_cfs_burst_seconds_total", unitSeconds, cgroupfs.CPUBurst, "CPU time beyond the quota; only with a quota."),
	}
}

func cadvisorMemory() []family {
	bytes := func(name, help string, s series) family {
		return family{name: name, kind: gauge, unit: unitBytes, help: help, series: []series{s}}
	}
	events := func(name, help string, f cgroupfs.Field) family {
		return family{name: name, kind: counter, help: help, series: []series{current(f)}}
	}
	return []family{
		bytes("container_memory_usage_bytes", "Memory charged, page cache and kernel memory included.", current(cgroupfs.MemoryCurrent)),
		bytes("container_memory_working_set_bytes", "Memory usage less inactive page cache.", workingSet()),
		bytes("container_memory_rss", "Anonymous memory.", current(cgroupfs.MemoryAnon)),
		bytes("container_memory_cache", "Page cache.", current(cgroupfs.MemoryFile)),
		bytes("container_memory_swap", "Memory that is swapped out.", current(cgroupfs.SwapCurrent)),
		bytes("container_memory_max_usage_bytes", "Highest memory usage since the cgroup was made.", current(cgroupfs.MemoryPeak)),
		// cAdvisor reads nothing here on cgroup v2 and says 0. This is what
		// its failcnt counted on cgroup v1: the cgroup's own limit being hit.
		events("container_memory_failcnt", "Times the cgroup's own memory limit was hit.", cgroupfs.MemoryLocalEventMax),
		events("container_memory_events_high_total", "Times memory.high was exceeded, here or below.", cgroupfs.MemoryEventHigh),
		events("container_memory_events_max_total", "Times memory.max was hit, here or below.", cgroupfs.MemoryEventMax),
		events("container_oom_events_total", "Processes that the kernel killed for lack of memory, here or below; the victim of a group kill counts twice.",
			cgroupfs.MemoryEventOOMKill),
	}
}

func cadvisorPressure() []family {
	pressure := func(name, help string, f cgroupfs.Field) family {
		return family{name: name, kind: counter, unit: unitSeconds, help: help, series: []series{current(f)}}
	}
	return []family{
		pressure("container_pressure_cpu_waiting_seconds_total", "Time in which some tasks waited for a CPU.", cgroupfs.CPUPressureSome),
		pressure("container_pressure_cpu_stalled_seconds_total", "Time in which all tasks waited for a CPU.", cgroupfs.CPUPressureFull),
		pressure("container_pressure_memory_waiting_seconds_total", "Time in which some tasks waited for memory.", cgroupfs.MemoryPressureSome),
		pressure("container_pressure_memory_stalled_seconds_total", "Time in which all tasks waited for memory.", cgroupfs.MemoryPressureFull),
		pressure("container_pressure_io_waiting_seconds_total", "Time in which some tasks waited for block devices.", cgroupfs.IOPressureSome),
		pressure("container_pressure_io_stalled_seconds_total", "Time in which all tasks waited for block devices.", cgroupfs.IOPressureFull),
	}
}

func cadvisorSpec() []family {
	micros := func(f cgroupfs.Field) series {
		return series{fields: []cgroupfs.Field{f}, value: func(s *subject) (float64, bool) {
			raw, ok := s.measures.Current.Get(f)
			return float64(raw), ok && raw != cgroupfs.Unlimited
		}}
	}
	return []family{
		{
			name: "container_spec_cpu_quota", kind: gauge,
			help:   "CPU quota in microseconds per period; only with a quota.",
			series: []series{micros(cgroupfs.CPUQuota)},
		}, {
			name: "container_spec_cpu_period", kind: gauge,
			help:   "CFS period in microseconds.",
			series: []series{micros(cgroupfs.CPUPeriod)},
		}, {
			name: "container_spec_cpu_shares", kind: gauge,
			help: "cpu.weight on the scale of cgroup v1's cpu.shares.",
			series: []series{{fields: []cgroupfs.Field{cgroupfs.CPUWeight}, value: func(s *subject) (float64, bool) {
				weight, ok := s.measures.Current.Get(cgroupfs.CPUWeight)
				return cpuShares(weight), ok
			}}},
		}, {
			name: "container_spec_memory_limit_bytes", kind: gauge, unit: unitBytes,
			help: "Memory limit; 0 without one.",
			series: []series{{fields: []cgroupfs.Field{cgroupfs.MemoryMax}, value: func(s *subject) (float64, bool) {
				limit, ok := s.measures.Current.Get(cgroupfs.MemoryMax)
				if limit == cgroupfs.Unlimited {
					limit = 0
				}
				return float64(limit), ok
			}}},
		},
	}
}

// cpuShares converts a weight of 1 to 10000 to shares of 2 to 262144, linearly
// (google/cadvisor, lib/container/common/helpers.go, convertCPUWeightToCPULimit).
// It is not the inverse of how newer runc makes weights from shares.
func cpuShares(weight uint64) float64 {
	if weight == 0 {
		return 0
	}
	return float64(2 + (weight-1)*262142/9999)
}

func cadvisorOther() []family {
	return []family{
		{
			name: "container_start_time_seconds", kind: gauge, unit: unitSeconds,
			help:   "When the cgroup appeared, in whole seconds since 1970.",
			source: "start of the main process; of pods and slices the cgroup's",
			series: []series{{value: func(s *subject) (float64, bool) {
				started := s.started()
				return float64(started.Unix()), !started.IsZero()
			}}},
		}, {
			name: "container_last_seen", kind: gauge,
			help:   "When the cgroup was read, in whole seconds since 1970.",
			source: "the agent",
			series: []series{number(func(s *subject) float64 { return float64(s.snapshot.Taken.Unix()) })},
		}, {
			name: "container_processes", kind: gauge,
			help:   "Processes of the container; 0 in pods and slices, whose own cgroups hold none.",
			source: "cgroup.procs",
			series: []series{{value: processes}},
		}, {
			name: "container_fs_reads_bytes_total", kind: counter, unit: unitBytes,
			help:   "Bytes read from block devices, summed over devices.",
			series: []series{current(cgroupfs.IOReadBytes)},
		}, {
			name: "container_fs_writes_bytes_total", kind: counter, unit: unitBytes,
			help:   "Bytes written to block devices, summed over devices.",
			series: []series{current(cgroupfs.IOWriteBytes)},
		},
	}
}

// processes returns 0 for pods and slices: a cgroup that hands controllers on
// holds no processes itself (cgroup-v2.rst, no internal process constraint).
func processes(s *subject) (float64, bool) {
	if s.container == nil {
		return 0, true
	}
	return float64(s.container.Processes.N), s.container.Processes.Known
}
