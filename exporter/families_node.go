// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"slices"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// nodeFamilies returns what speaks of the node and of the agent, once per
// exposition.
func nodeFamilies() []family {
	families := slices.Concat(nodeFacts(), sweepFacts(), readerFacts(), retentionFacts(), oomFacts(), hintFacts())
	for i := range families {
		families[i].level = levelNode
	}
	return append(families, sourceFamily())
}

func nodeFacts() []family {
	return []family{
		{
			name: "slicewatch_node_cpu_cores", kind: gauge, unit: unitCores,
			help:   "CPUs of the node that are online.",
			source: "/sys/devices/system/cpu/online",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.CPUs }, 1)},
		}, {
			name: "slicewatch_node_memory_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory of the node.",
			source: "/proc/meminfo MemTotal",
			series: []series{amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.MemoryBytes }, 1)},
		}, {
			name: "slicewatch_node_pressure_seconds_total", kind: counter, unit: unitSeconds,
			labels: []string{"resource", "kind"},
			help:   "Time in which some or all tasks of the node waited for the resource (PSI).",
			source: "/proc/pressure/cpu, memory, io",
			series: nodePressure(),
		},
	}
}

func nodePressure() []series {
	var all []series
	for resource := range snapshot.NumResources {
		some := amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.Pressure[resource].Some }, microsPerSecond)
		some.values = []string{resource.String(), "some"}
		full := amount(func(s *subject) snapshot.Amount { return s.snapshot.Node.Pressure[resource].Full }, microsPerSecond)
		full.values = []string{resource.String(), "full"}
		all = append(all, some, full)
	}
	return all
}

func sweepFacts() []family {
	return []family{
		{
			name: "slicewatch_snapshot_timestamp_seconds", kind: gauge, unit: unitSeconds,
			help:   "When the sweep that this exposition shows began, in seconds since 1970.",
			source: "the agent",
			series: []series{{value: func(s *subject) (float64, bool) { return unixSeconds(s.snapshot.Taken) }}},
		}, {
			name: "slicewatch_sweeps_late_total", kind: counter,
			help:   "Sweeps that were left out because the one before took longer than the sample interval.",
			source: "the agent",
			series: []series{number(func(s *subject) float64 { return float64(s.snapshot.Self.LateSweeps) })},
		}, {
			name: "slicewatch_cgroups", kind: gauge, labels: []string{"level"},
			help:   "Living cgroups that the agent reads, by their place in the kubepods tree.",
			source: "the cgroup tree",
			series: cgroupCounts(),
		}, {
			name: "slicewatch_ignored_cgroups", kind: gauge,
			help:   "Cgroups of the kubepods tree whose names are neither a pod's nor a container's.",
			source: "the cgroup tree",
			series: []series{number(func(s *subject) float64 { return float64(s.snapshot.Self.IgnoredCgroups) })},
		}, {
			name: "slicewatch_unidentified_containers", kind: gauge,
			help:   "Living containers whose Kubernetes names are not known.",
			source: "the agent",
			series: []series{number(func(s *subject) float64 { return float64(s.snapshot.Unidentified) })},
		},
	}
}

func cgroupCounts() []series {
	var all []series
	for at := cgroupfs.LevelKubepods; at <= cgroupfs.LevelContainer; at++ {
		all = append(all, number(func(s *subject) float64 { return float64(s.snapshot.Cgroups[at]) }, at.String()))
	}
	return all
}

// aboutItself is the one series of what the agent holds.
func aboutItself(of func(*snapshot.Self) float64) []series {
	return []series{number(func(s *subject) float64 { return of(&s.snapshot.Self) })}
}

func readerFacts() []family {
	return []family{
		{
			name: "slicewatch_cgroup_files_open", kind: gauge, source: "the agent",
			help:   "Cgroup files that the agent keeps open.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.OpenFiles) }),
		}, {
			name: "slicewatch_cgroup_files_limit", kind: gauge, source: "the agent",
			help: "Cgroup files that the agent may keep open.",
			series: []series{{value: func(s *subject) (float64, bool) {
				limit := s.snapshot.Self.OpenFilesLimit
				return float64(limit), limit > 0
			}}},
		}, {
			name: "slicewatch_cgroup_files_opened_anew_total", kind: counter, source: "the agent",
			help:   "Reads that had to open their file because slicewatch_cgroup_files_limit was reached.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.FilesOpenedAnew) }),
		}, {
			name: "slicewatch_inotify_watches", kind: gauge, source: "the agent",
			help:   "Cgroup directories that the agent watches.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.Watches) }),
		}, {
			name: "slicewatch_inotify_watches_failed_total", kind: counter, source: "the agent",
			help:   "Cgroup directories that could not be watched and are found by walking the tree instead.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.WatchesFailed) }),
		}, {
			name: "slicewatch_inotify_overflows_total", kind: counter, source: "the agent",
			help:   "Times the kernel dropped inotify events, after which the agent walks the tree.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.WatchOverflows) }),
		},
	}
}

func retentionFacts() []family {
	return []family{
		{
			name: "slicewatch_retained_series", kind: gauge, source: "the agent",
			help:   "Ended pods and containers whose counters are still exported.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.RetainedSeries) }),
		}, {
			name: "slicewatch_retained_series_dropped_total", kind: counter, source: "the agent",
			help:   "Ended pods and containers that were dropped before the retention time, to stay within the bound.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.RetainedDropped) }),
		}, {
			name: "slicewatch_state_writes_total", kind: counter, source: "the agent",
			help:   "Times the counters were written to the state directory.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.StateWrites) }),
		}, {
			name: "slicewatch_state_write_errors_total", kind: counter, source: "the agent",
			help:   "Times the counters could not be written to the state directory.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.StateWriteErrors) }),
		},
	}
}

func sourceFamily() family {
	return family{
		name: "slicewatch_source_up", kind: gauge, level: levelSource, source: "the agent",
		help: "Whether the agent gets data from the source: 1 or 0.",
		series: []series{number(func(s *subject) float64 {
			if s.source.Up {
				return 1
			}
			return 0
		})},
	}
}

// registryFamilies returns what the agent's own collectors keep.
func registryFamilies() []family {
	families := []family{
		{
			name: nameBuildInfo, kind: gauge, labels: []string{"version", "revision", "goversion", "goarch"},
			help: "Always 1. Its labels say which build of the agent runs.",
		}, {
			name: nameSweepDuration, kind: histogram, unit: unitSeconds, labels: []string{"reader"},
			help: "How long reading all cgroups took, by the reader that did it: files or bpf.",
		}, {
			name: nameSweepErrors, kind: counter, labels: []string{"reason"},
			help: "What went wrong in sweeps. reason=vanished is normal: a cgroup that was removed while it was read.",
		}, {
			name: nameEventsLost, kind: counter, labels: []string{"source"},
			help: "Events that the agent did not get, or not whole: a buffer was full, kernel memory could not be read, or a cgroup was more than 29 levels below its container.",
		}, {
			name: nameScrapesRefused, kind: counter,
			help: "Scrapes that were answered with 503 because too many ran at once.",
		}, {
			name: nameConnsRefused, kind: counter,
			help: "Connections that were closed at once because their address had 256 already.",
		}, {
			name: nameDecisions, kind: counter, labels: []string{"decision"},
			help: "With --web.auth=kubernetes: requests by what became of them. decision is allowed, unauthenticated (401), " +
				"forbidden (403), unavailable (503: the API server does not answer) or limited (429: too many tokens to review).",
		}, {
			name: nameReviews, kind: counter, labels: []string{"review"},
			help: "With --web.auth=kubernetes: questions to the API server. review is token (whose it is) or access (what they may get).",
		},
	}
	for i := range families {
		families[i].level = levelRegistry
		families[i].source = "the agent"
	}
	return families
}
