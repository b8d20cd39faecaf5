// SPDX-License-Identifier: Apache-2.0

package dashboards

// container is one container, or a few, in full.
func container() Dashboard {
	return Dashboard{
		UID: "slicewatch-container", Title: "slicewatch / Container",
		Description: "Throttling, stalls, memory and pressure of single containers. Counters go on over restarts.",
		Variables: []Variable{
			dataSource(), nodeVariable(), namespaceVariable(), workloadVariable(),
			{Name: "pod", Label: "Pod", Several: true, Query: "label_values(slicewatch_container_info{" + inNamespace + `, workload=~"$workload"}, pod)`},
			{Name: "container", Label: "Container", Several: true, All: true, Query: "label_values(slicewatch_container_info{" + ofPod + "}, container)"},
		},
		Rows: []Row{
			{Title: "CPU", Panels: containerCPU()},
			{Title: "Throttling", Panels: containerThrottling()},
			{Title: "Memory", Panels: containerMemory()},
			{Title: "Memory stalls", Panels: containerStalls()},
			{Title: "Disks, processes, life", Panels: containerLife()},
		},
	}
}

const eachContainer = "{{pod}} {{container}}"

// pressureSplit are the two parts of a container's CPU pressure. Throttled time
// is added over CPUs and pressure is not, so that the part of other work is what
// it is at least. Throttling by the container's and by the pod's own quota
// both explain pressure.
func pressureSplit() (contention, own string) {
	pressure := rate(byContainer, sel("slicewatch_container_cpu_pressure_seconds_total", ofContainer, `kind="some"`))
	usage := rate(byContainer, sel("slicewatch_container_cpu_usage_seconds_total", ofContainer))
	throttled := rate(byContainer, sel("slicewatch_container_cpu_throttled_seconds_total", ofContainer))
	const byPod = "node, namespace, pod"
	podUsage := rate(byPod, sel("slicewatch_pod_cpu_usage_seconds_total", ofPod))
	podThrottled := rate(byPod, sel("slicewatch_pod_cpu_throttled_seconds_total", ofPod))
	contention = "clamp_min(" + pressure + " - (" + throttled + " or " + usage + " * 0)" +
		" - on (" + byPod + ") group_left () (" + podThrottled + " or " + podUsage + " * 0), 0)"
	return contention, pressure + " - " + contention
}

func containerCPU() []Panel {
	contention, own := pressureSplit()
	return []Panel{
		{
			Title: "CPU use", Description: "The peak is the highest use in one sample interval of the last minute: bursts that the average hides.", Kind: Lines, Unit: unitCores, Height: 9,
			Queries: []Query{
				{Expr: rate(byContainer, sel("slicewatch_container_cpu_usage_seconds_total", ofContainer)), Legend: eachContainer},
				{Expr: highest(byContainer, sel("slicewatch_container_cpu_peak_cores", ofContainer)), Legend: eachContainer + " peak"},
				{Expr: highest(byContainer, sel("slicewatch_container_cpu_request_cores", ofContainer)), Legend: eachContainer + " request"},
				{Expr: highest(byContainer, sel("slicewatch_container_cpu_limit_cores", ofContainer)), Legend: eachContainer + " limit"},
			},
		}, {
			Title: "CPU use by mode", Description: "Much time in the kernel is system calls, page faults or network.", Kind: Lines, Unit: unitCores, Stacked: true, Height: 9,
			Queries: []Query{{Expr: rate("mode", sel("slicewatch_container_cpu_usage_seconds_total", ofContainer)), Legend: "{{mode}}"}},
		}, {
			Title: "CPU pressure: own limit or others", Kind: Lines, Unit: unitShare, Stacked: true, Max: 1, Height: 9,
			Description: "Share of time in which some task waited for a CPU, split into what the container's and its pod's own limits explain and what they do not: at least that much is other work.",
			Queries: []Query{
				{Expr: own, Legend: eachContainer + " own limit"},
				{Expr: contention, Legend: eachContainer + " contention"},
			},
		},
	}
}

func containerThrottling() []Panel {
	const histogram = "slicewatch_container_cpu_throttle_duration_seconds"
	return []Panel{
		{
			Title: "Throttled share", Description: "Share of its running time that the container loses to its CPU limit: throttled / (usage + throttled). From 10 % on it hurts.",
			Kind: Lines, Unit: unitShare, Max: 1, Warn: 0.05, Bad: 0.1,
			Queries: []Query{
				{Expr: throttledShare("container", byContainer, ofContainer), Legend: eachContainer},
				{Expr: throttledShare("pod", "node, namespace, pod", ofPod), Legend: "{{pod}} by the pod's limit"},
			},
		}, {
			Title: "Throttled periods", Description: "The usual measure: of the periods in which it ran, the share in which it was throttled. It does not say for how long.",
			Kind: Lines, Unit: unitShare, Max: 1,
			Queries: []Query{{Expr: rate(byContainer, sel("slicewatch_container_cpu_throttled_periods_total", ofContainer)) + " / (" +
				rate(byContainer, sel("slicewatch_container_cpu_periods_total", ofContainer)) + " > 0)", Legend: eachContainer}},
		}, {
			Title: "Burst", Description: "CPU time beyond the limit on a saved up allowance, and that allowance in seconds a period.", Kind: Lines, Unit: unitSeconds,
			Queries: []Query{
				{Expr: rate(byContainer, sel("slicewatch_container_cpu_burst_seconds_total", ofContainer)), Legend: eachContainer + " used a second"},
				{Expr: highest(byContainer, sel("slicewatch_container_cpu_burst_limit_seconds", ofContainer)), Legend: eachContainer + " allowance"},
			},
		}, {
			Title: "How long throttles last", Description: "Each throttle of the cgroup, from eBPF.", Kind: Heatmap, Unit: unitSeconds, Width: 12,
			Queries: []Query{{Expr: buckets("increase", histogram, "", ofContainer), Legend: "{{le}}"}},
		}, {
			Title: "Length of a stall", Description: "What a request that hits a throttle waits.", Kind: Lines, Unit: unitSeconds, Width: 12, Warn: 0.03, Bad: 0.1,
			Queries: quantiles(histogram, byContainer, ofContainer, eachContainer),
		},
	}
}

func containerMemory() []Panel {
	return []Panel{
		{
			Title: "Memory and its bounds", Description: "The working set is what the kubelet looks at; usage with page cache is what the limit bounds. The peak is of the last minute.",
			Kind: Lines, Unit: unitBytes, Width: 12, Height: 9,
			Queries: []Query{
				{Expr: highest(byContainer, sel("slicewatch_container_memory_working_set_bytes", ofContainer)), Legend: eachContainer + " working set"},
				{Expr: highest(byContainer, sel("slicewatch_container_memory_usage_bytes", ofContainer)), Legend: eachContainer + " usage"},
				{Expr: highest(byContainer, sel("slicewatch_container_memory_peak_bytes", ofContainer)), Legend: eachContainer + " peak"},
				{Expr: highest(byContainer, sel("slicewatch_container_memory_request_bytes", ofContainer)), Legend: eachContainer + " request"},
				{Expr: highest(byContainer, sel("slicewatch_container_memory_high_bytes", ofContainer)), Legend: eachContainer + " memory.high"},
				{Expr: highest(byContainer, sel("slicewatch_container_memory_limit_bytes", ofContainer)), Legend: eachContainer + " limit"},
				{Expr: highest("node, namespace, pod", sel("slicewatch_pod_memory_limit_bytes", ofPod)), Legend: "{{pod}} limit of the pod"},
			},
		}, {
			Title: "What memory is used for", Description: "file can be dropped, unless it is shmem; anon cannot without swap. kernel is not in either.", Kind: Lines, Unit: unitBytes, Width: 12, Height: 9,
			Queries: []Query{{Expr: sum("type", highest(byContainer+", type", sel("slicewatch_container_memory_stat_bytes", ofContainer, `type=~"anon|file|shmem|kernel"`))), Legend: "{{type}}"}},
		},
	}
}

func containerStalls() []Panel {
	const histogram = "slicewatch_container_memory_stall_duration_seconds"
	return []Panel{
		{
			Title: "Memory pressure", Description: "Share of time in which some or all tasks waited for memory.", Kind: Lines, Unit: unitShare, Max: 1, Warn: 0.05, Bad: 0.1, Width: 6,
			Queries: []Query{{Expr: rate(byContainer+", kind", sel("slicewatch_container_memory_pressure_seconds_total", ofContainer)), Legend: eachContainer + " {{kind}}"}},
		}, {
			Title: "Memory events", Description: "high: held at memory.high. max: the limit was hit. oom: nothing was left to reclaim. oom_kill: killed, two for the victim of a group kill.",
			Kind: Lines, Unit: unitPerSec, Width: 6,
			Queries: []Query{{Expr: rate(byContainer+", event", sel("slicewatch_container_memory_events_total", ofContainer, `scope="hierarchical"`)), Legend: eachContainer + " {{event}}"}},
		}, {
			Title: "Length of memory stalls", Description: "How long tasks were held at memory.high or reclaimed at their own limit, from eBPF. The two overlap.", Kind: Lines, Unit: unitSeconds, Width: 6, Warn: 0.01, Bad: 0.1,
			Queries: []Query{
				{Expr: quantile(0.5, histogram, byContainer+", cause", ofContainer), Legend: eachContainer + " {{cause}}: half below"},
				{Expr: quantile(0.99, histogram, byContainer+", cause", ofContainer), Legend: eachContainer + " {{cause}}: 99 of 100 below"},
			},
		}, {
			Title: "Major faults", Description: "Pages that had to be read from a disk: a working set that does not fit.", Kind: Lines, Unit: unitPerSec, Width: 6,
			Queries: []Query{{Expr: rate(byContainer, sel("slicewatch_container_memory_major_faults_total", ofContainer)), Legend: eachContainer}},
		},
	}
}

func containerLife() []Panel {
	return []Panel{
		{
			Title: "Disk traffic", Description: "Bytes on block devices, summed over devices.", Kind: Lines, Unit: "Bps", Width: 6,
			Queries: []Query{{Expr: rate(byContainer+", operation", sel("slicewatch_container_io_bytes_total", ofContainer)), Legend: eachContainer + " {{operation}}"}},
		}, {
			Title: "Disk pressure", Description: "Share of time in which some or all tasks waited for disks.", Kind: Lines, Unit: unitShare, Max: 1, Width: 6,
			Queries: []Query{{Expr: rate(byContainer+", kind", sel("slicewatch_container_io_pressure_seconds_total", ofContainer)), Legend: eachContainer + " {{kind}}"}},
		}, {
			Title: "Processes and threads", Description: "Against the limit, where there is one.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{
				{Expr: highest(byContainer, sel("slicewatch_container_pids", ofContainer)), Legend: eachContainer},
				{Expr: highest(byContainer, sel("slicewatch_container_pids_limit", ofContainer)), Legend: eachContainer + " limit"},
			},
		}, {
			Title: "Starts and OOM kills", Description: "How many there were so far; a step is one more.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{
				{Expr: highest(byContainer, sel("slicewatch_container_starts_total", ofContainer)), Legend: eachContainer + " starts"},
				{Expr: highest(byContainer+", scope", sel("slicewatch_oom_kills_total", ofContainer)), Legend: eachContainer + " OOM kills, limit of {{scope}}"},
			},
		},
	}
}
