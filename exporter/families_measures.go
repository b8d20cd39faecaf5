// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"strings"

	"github.com/slicewatch/slicewatch/cgroupfs"

	dto "github.com/prometheus/client_model/go"
)

const (
	counter   = dto.MetricType_COUNTER
	gauge     = dto.MetricType_GAUGE
	histogram = dto.MetricType_HISTOGRAM
)

const (
	unitSeconds = "seconds"
	unitBytes   = "bytes"
	unitCores   = "cores"
)

// measure is what containers, pods, QoS classes and the whole kubepods tree
// have alike: one family for each of these levels.
type measure struct {
	// suffix is the name without "slicewatch_<level>_".
	suffix string
	// help speaks of "@", which stands for the level's subject.
	help   string
	kind   dto.MetricType
	unit   string
	labels []string
	// pod is true for the families that are exported for pods by default;
	// all others are detail at that level.
	pod    bool
	series []series
}

// measureLevels are the levels of a measure: the prefix of the families'
// names and what their help calls the subject.
func measureLevels() []struct {
	level           level
	prefix, subject string
} {
	return []struct {
		level           level
		prefix, subject string
	}{
		{levelContainer, "slicewatch_container_", "the container"},
		{levelPod, "slicewatch_pod_", "the pod, its sandbox included"},
		{levelQoS, "slicewatch_qos_", "the QoS class"},
		{levelKubepods, "slicewatch_kubepods_", "all pods of the node"},
	}
}

// measureFamilies returns every measure at every level.
func measureFamilies() []family {
	var measures []measure
	measures = append(measures, cpuMeasures()...)
	measures = append(measures, memoryMeasures()...)
	measures = append(measures, memoryEventMeasures()...)
	measures = append(measures, otherMeasures()...)
	var families []family
	for _, at := range measureLevels() {
		for i := range measures {
			families = append(families, measures[i].at(at.level, at.prefix, at.subject))
		}
	}
	return families
}

func (m *measure) at(l level, prefix, subject string) family {
	f := family{
		name:   prefix + m.suffix,
		help:   strings.ReplaceAll(m.help, "@", subject),
		kind:   m.kind,
		unit:   m.unit,
		level:  l,
		labels: m.labels,
		series: append([]series(nil), m.series...),
	}
	if l == levelPod && !m.pod {
		for i := range f.series {
			f.series[i].detail = true
		}
	}
	return f
}

func cpuMeasures() []measure {
	return []measure{
		{
			suffix: "cpu_usage_seconds_total", kind: counter, unit: unitSeconds, labels: []string{"mode"}, pod: true,
			help:   "CPU time that @ used, in user and in system mode.",
			series: []series{total(cgroupfs.CPUUser, "user"), total(cgroupfs.CPUSystem, "system")},
		}, {
			suffix: "cpu_periods_total", kind: counter, pod: true,
			help:   "CFS periods in which @ had something to run; only with a CPU quota.",
			series: []series{when(hasThrottling, total(cgroupfs.CPUPeriods))},
		}, {
			suffix: "cpu_throttled_periods_total", kind: counter, pod: true,
			help:   "CFS periods in which @ used up its quota and was throttled; only with a CPU quota.",
			series: []series{when(hasThrottling, total(cgroupfs.CPUThrottledPeriods))},
		}, {
			suffix: "cpu_throttled_seconds_total", kind: counter, unit: unitSeconds, pod: true,
			help:   "Time that @ spent throttled, added over CPUs; only with a CPU quota.",
			series: []series{when(hasThrottling, total(cgroupfs.CPUThrottled))},
		}, {
			suffix: "cpu_burst_periods_total", kind: counter,
			help:   "CFS periods in which @ ran beyond its quota on its burst allowance; only with a CPU quota.",
			series: []series{when(hasThrottling, total(cgroupfs.CPUBurstPeriods))},
		}, {
			suffix: "cpu_burst_seconds_total", kind: counter, unit: unitSeconds,
			help:   "CPU time that @ used beyond its quota on its burst allowance; only with a CPU quota.",
			series: []series{when(hasThrottling, total(cgroupfs.CPUBurst))},
		}, {
			suffix: "cpu_pressure_seconds_total", kind: counter, unit: unitSeconds, labels: []string{"kind"}, pod: true,
			help:   "Time in which some or all runnable tasks of @ waited for a CPU, throttling included (PSI).",
			series: []series{total(cgroupfs.CPUPressureSome, "some"), total(cgroupfs.CPUPressureFull, "full")},
		}, {
			suffix: "cpu_limit_cores", kind: gauge, unit: unitCores, pod: true,
			help:   "CPU limit of @: quota divided by period. Absent without a limit.",
			series: []series{cpuLimit()},
		}, {
			suffix: "cpu_burst_limit_seconds", kind: gauge, unit: unitSeconds,
			help:   "CPU time that @ may save up and use beyond its quota within a period; only with a CPU quota.",
			series: []series{when(hasQuota, current(cgroupfs.CPUBurstLimit))},
		}, {
			suffix: "cpu_weight", kind: gauge,
			help:   "Share of @ when CPUs are contended, 1 to 10000, against its siblings' weights.",
			series: []series{current(cgroupfs.CPUWeight)},
		},
	}
}

func memoryMeasures() []measure {
	return []measure{
		{
			suffix: "memory_usage_bytes", kind: gauge, unit: unitBytes, pod: true,
			help:   "Memory charged to @, page cache and kernel memory included.",
			series: []series{current(cgroupfs.MemoryCurrent)},
		}, {
			suffix: "memory_working_set_bytes", kind: gauge, unit: unitBytes, pod: true,
			help:   "Memory usage of @ less its inactive page cache, as the kubelet computes it for evictions.",
			series: []series{workingSet()},
		}, {
			suffix: "memory_stat_bytes", kind: gauge, unit: unitBytes, labels: []string{"type"},
			help: "Memory charged to @, by what it is used for.",
			series: []series{
				current(cgroupfs.MemoryAnon, "anon"),
				current(cgroupfs.MemoryFile, "file"),
				current(cgroupfs.MemoryShmem, "shmem"),
				current(cgroupfs.MemoryKernel, "kernel"),
				inDetail(current(cgroupfs.MemorySlabReclaimable, "slab_reclaimable")),
				inDetail(current(cgroupfs.MemoryInactiveFile, "inactive_file")),
				inDetail(current(cgroupfs.MemoryActiveFile, "active_file")),
				inDetail(current(cgroupfs.MemoryFileDirty, "file_dirty")),
				inDetail(current(cgroupfs.MemoryFileWriteback, "file_writeback")),
				inDetail(current(cgroupfs.MemorySock, "sock")),
			},
		}, {
			suffix: "memory_limit_bytes", kind: gauge, unit: unitBytes, pod: true,
			help:   "Memory limit of @: beyond it the kernel reclaims, then kills. Absent without a limit.",
			series: []series{current(cgroupfs.MemoryMax)},
		}, {
			suffix: "memory_high_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory usage beyond which @ is slowed down and reclaimed from. Absent without such a bound.",
			series: []series{current(cgroupfs.MemoryHigh)},
		}, {
			suffix: "memory_min_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory of @ that the kernel never reclaims.",
			series: []series{inDetail(current(cgroupfs.MemoryMin))},
		}, {
			suffix: "memory_low_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory of @ that the kernel reclaims only when nothing else is left.",
			series: []series{inDetail(current(cgroupfs.MemoryLow))},
		}, {
			suffix: "memory_pressure_seconds_total", kind: counter, unit: unitSeconds, labels: []string{"kind"}, pod: true,
			help:   "Time in which some or all tasks of @ were held up for lack of memory (PSI).",
			series: []series{total(cgroupfs.MemoryPressureSome, "some"), total(cgroupfs.MemoryPressureFull, "full")},
		}, {
			suffix: "memory_major_faults_total", kind: counter,
			help:   "Page faults of @ that had to read from a disk.",
			series: []series{total(cgroupfs.MemoryMajorFaults)},
		}, {
			suffix: "memory_refaults_total", kind: counter, labels: []string{"type"},
			help: "Pages of @ that were needed again soon after they were reclaimed.",
			series: []series{
				inDetail(total(cgroupfs.MemoryRefaultAnon, "anon")),
				inDetail(total(cgroupfs.MemoryRefaultFile, "file")),
			},
		},
	}
}

func memoryEventMeasures() []measure {
	return []measure{
		{
			suffix: "memory_events_total", kind: counter, labels: []string{"event", "scope"}, pod: true,
			help: "What happened to @ for its memory bounds: with all cgroups below (scope=hierarchical), or for its own bounds alone (scope=local). The kernel counts the victim of a group kill twice in oom_kill.",
			series: []series{
				inDetail(total(cgroupfs.MemoryEventLow, "low", "hierarchical")),
				total(cgroupfs.MemoryEventHigh, "high", "hierarchical"),
				total(cgroupfs.MemoryEventMax, "max", "hierarchical"),
				total(cgroupfs.MemoryEventOOM, "oom", "hierarchical"),
				total(cgroupfs.MemoryEventOOMKill, "oom_kill", "hierarchical"),
				total(cgroupfs.MemoryEventOOMGroupKill, "oom_group_kill", "hierarchical"),
				inDetail(total(cgroupfs.MemoryLocalEventLow, "low", "local")),
				inDetail(total(cgroupfs.MemoryLocalEventHigh, "high", "local")),
				total(cgroupfs.MemoryLocalEventMax, "max", "local"),
				total(cgroupfs.MemoryLocalEventOOM, "oom", "local"),
				total(cgroupfs.MemoryLocalEventOOMKill, "oom_kill", "local"),
				inDetail(total(cgroupfs.MemoryLocalEventOOMGroupKill, "oom_group_kill", "local")),
			},
		},
	}
}

func otherMeasures() []measure {
	return []measure{
		{
			suffix: "swap_usage_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory of @ that is swapped out; only where it may swap.",
			series: []series{maySwap(current(cgroupfs.SwapCurrent))},
		}, {
			suffix: "swap_events_total", kind: counter, labels: []string{"event"},
			help: "What happened to @ for its swap bounds; only where it may swap.",
			// Detail, so that a container stays within 50 default series.
			series: []series{
				inDetail(maySwap(total(cgroupfs.SwapEventHigh, "high"))),
				inDetail(maySwap(total(cgroupfs.SwapEventMax, "max"))),
				inDetail(maySwap(total(cgroupfs.SwapEventFail, "fail"))),
			},
		}, {
			suffix: "io_bytes_total", kind: counter, unit: unitBytes, labels: []string{"operation"},
			help: "Bytes that @ read, wrote and discarded on block devices, summed over devices.",
			series: []series{
				total(cgroupfs.IOReadBytes, "read"),
				total(cgroupfs.IOWriteBytes, "write"),
				// Detail for the same bound.
				inDetail(total(cgroupfs.IODiscardBytes, "discard")),
			},
		}, {
			suffix: "io_operations_total", kind: counter, labels: []string{"operation"},
			help: "Reads, writes and discards of @ on block devices, summed over devices.",
			series: []series{
				inDetail(total(cgroupfs.IOReads, "read")),
				inDetail(total(cgroupfs.IOWrites, "write")),
				inDetail(total(cgroupfs.IODiscards, "discard")),
			},
		}, {
			suffix: "io_pressure_seconds_total", kind: counter, unit: unitSeconds, labels: []string{"kind"}, pod: true,
			help:   "Time in which some or all tasks of @ waited for block devices (PSI).",
			series: []series{total(cgroupfs.IOPressureSome, "some"), total(cgroupfs.IOPressureFull, "full")},
		}, {
			suffix: "pids", kind: gauge, pod: true,
			help:   "Processes and threads of @.",
			series: []series{current(cgroupfs.PIDsCurrent)},
		}, {
			suffix: "pids_limit", kind: gauge,
			help:   "Processes and threads that @ may have. Absent without a limit.",
			series: []series{current(cgroupfs.PIDsMax)},
		},
	}
}
