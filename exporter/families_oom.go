// SPDX-License-Identifier: Apache-2.0

package exporter

import "github.com/slicewatch/slicewatch/agent/snapshot"

// oomFamilies returns what counts OOM kills.
func oomFamilies() []family {
	const source = "the kernel's OOM events (eBPF); without them memory.events and memory.events.local"
	return []family{
		{
			name: "slicewatch_oom_kills_total", kind: counter, level: levelOOM, labels: []string{"scope"}, source: source,
			help: "OOMs that killed something in the container, one for each however many processes died, by the level whose memory limit was hit. " +
				"scope=pod is usual: a pod's limit is the sum of its containers'. scope=node is the node's own memory.",
			series: oomCounts(func(s *snapshot.OOMSeries, scope snapshot.OOMScope) uint64 { return s.Kills[scope] }),
		}, {
			name: "slicewatch_oom_killed_processes_total", kind: counter, level: levelOOM, labels: []string{"scope"}, source: source,
			help:   "Processes of the container that the kernel killed in OOMs, by the level whose memory limit was hit. Without eBPF some of a group kill may be counted twice.",
			series: oomCounts(func(s *snapshot.OOMSeries, scope snapshot.OOMScope) uint64 { return s.Processes[scope] }),
		},
	}
}

// oomCounts returns a series for each scope. Those of the usual scopes are there
// from the start, so that increase() sees the first kill; the others would only
// be in the way before.
func oomCounts(of func(*snapshot.OOMSeries, snapshot.OOMScope) uint64) []series {
	var all []series
	for _, scope := range []snapshot.OOMScope{
		snapshot.ScopeContainer, snapshot.ScopePod, snapshot.ScopeQoS, snapshot.ScopeKubepods, snapshot.ScopeNode, snapshot.ScopeUnknown,
	} {
		usual := scope == snapshot.ScopeContainer || scope == snapshot.ScopePod
		all = append(all, series{
			values: []string{scope.String()},
			value: func(s *subject) (float64, bool) {
				n := of(s.oom, scope)
				return float64(n), usual || n > 0
			},
		})
	}
	return all
}

// oomFacts is what the account of OOM kills says of itself.
func oomFacts() []family {
	return []family{
		{
			name: "slicewatch_oom_events_missed_total", kind: counter, source: "the agent",
			help:   "OOM killed processes that memory.events told and no event of the kernel, while there should have been one. They are counted, with less detail.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.OOMEventsMissed) }),
		}, {
			name: "slicewatch_oom_unplaced_total", kind: counter, source: "the agent",
			help:   "OOM killed processes of pods that no container could be found for: container and pod were gone before they were seen.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.OOMUnplaced) }),
		}, {
			name: "slicewatch_flight_recorder_containers", kind: gauge, source: "the agent",
			help:   "Containers whose last minutes are recorded, so that an OOM kill can tell what was before.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.FlightContainers) }),
		}, {
			name: "slicewatch_flight_recorder_refused_total", kind: counter, source: "the agent",
			help:   "Samples that were not recorded because the flight recorder was full.",
			series: aboutItself(func(s *snapshot.Self) float64 { return float64(s.FlightRefused) }),
		},
	}
}
