// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"slices"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// hintFamilies returns what hints say.
func hintFamilies() []family {
	families := []family{
		{
			name: "slicewatch_hint_cpu_request_cores", kind: gauge, unit: unitCores,
			help:   "CPU request that the container should have. Absent while too little is known; slicewatch_hint_reason says so.",
			series: hinted(func(h *snapshot.Hint) snapshot.Quantity { return h.CPURequestCores }),
		}, {
			name: "slicewatch_hint_cpu_limit_cores", kind: gauge, unit: unitCores,
			help:   "CPU limit that the container should have. Absent beside a request: set no CPU limit.",
			series: hinted(func(h *snapshot.Hint) snapshot.Quantity { return h.CPULimitCores }),
		}, {
			name: "slicewatch_hint_memory_request_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory request that the container should have.",
			series: hinted(func(h *snapshot.Hint) snapshot.Quantity { return h.MemoryRequestBytes }),
		}, {
			name: "slicewatch_hint_memory_limit_bytes", kind: gauge, unit: unitBytes,
			help:   "Memory limit that the container should have.",
			series: hinted(func(h *snapshot.Hint) snapshot.Quantity { return h.MemoryLimitBytes }),
		}, {
			name: "slicewatch_hint_cpu_burst_seconds", kind: gauge, unit: unitSeconds,
			help:   "Burst allowance (cpu.max.burst) that would cure the container's throttling under its present limit; only where one would.",
			series: hinted(func(h *snapshot.Hint) snapshot.Quantity { return h.CPUBurstSeconds }),
		}, {
			name: "slicewatch_hint_confidence_ratio", kind: gauge,
			help: "How sure the hint is, 0 to 1: how long the container was seen, and how well what it wants could be. Absent without a hint.",
			series: []series{{value: func(s *subject) (float64, bool) {
				h := s.container.Hint
				return h.Confidence, !h.Published.IsZero()
			}}},
		}, {
			name: "slicewatch_hint_urgent", kind: gauge,
			help: "1 while the container suffers until its hint is followed, else 0.",
			series: []series{number(func(s *subject) float64 {
				if s.container.Hint.Urgent {
					return 1
				}
				return 0
			})},
		}, {
			name: "slicewatch_hint_reason", kind: gauge, labels: []string{"reason", "resource"},
			help:   "Always 1, for each reason of the hint. The sentences with the numbers are in /api/v1/hints.",
			series: hintReasons(),
		},
	}
	for i := range families {
		families[i].level = levelHint
		families[i].source = "histories of use on the node, see hints.md"
	}
	return families
}

func hinted(of func(*snapshot.Hint) snapshot.Quantity) []series {
	return []series{{value: func(s *subject) (float64, bool) {
		q := of(s.container.Hint)
		return q.V, q.Known
	}}}
}

// maxReasons bounds the reasons of one hint that are exported.
const maxReasons = 16

// hintReasons returns a series for the first reason, for the second, and so on:
// there are far more reasons than a hint has.
func hintReasons() []series {
	var all []series
	for n := range maxReasons {
		all = append(all, series{
			value: func(s *subject) (float64, bool) {
				return 1, reasonAt(s.container.Hint, n) != nil
			},
			dynamic: func(s *subject, parts []string) []string {
				r := reasonAt(s.container.Hint, n)
				return append(parts, string(r.Code), r.Resource.String())
			},
			render: slices.Clone[[]string],
		})
	}
	return all
}

// reasonAt returns the nth reason of a hint, each code counted once; nil if there
// are fewer.
func reasonAt(h *snapshot.Hint, n int) *snapshot.Reason {
	for i := range h.Reasons {
		switch {
		case repeated(h.Reasons, i):
		case n == 0:
			return &h.Reasons[i]
		default:
			n--
		}
	}
	return nil
}

// repeated says whether reason i has the labels of an earlier one.
func repeated(reasons []snapshot.Reason, i int) bool {
	for k := range i {
		if reasons[k].Code == reasons[i].Code && reasons[k].Resource == reasons[i].Resource {
			return true
		}
	}
	return false
}

// hintFacts is what the making of hints says of itself.
func hintFacts() []family {
	about := func(of func(*snapshot.Hints) float64) []series {
		return []series{number(func(s *subject) float64 { return of(&s.snapshot.Hints) })}
	}
	return []family{
		{
			name: "slicewatch_histories", kind: gauge, source: "the agent",
			help:   "Containers of workloads whose history of use is kept for hints.",
			series: about(func(h *snapshot.Hints) float64 { return float64(h.Histories) }),
		}, {
			name: "slicewatch_histories_refused_total", kind: counter, source: "the agent",
			help:   "Times that a history was not kept, or dropped before its time, to stay within the bound.",
			series: about(func(h *snapshot.Hints) float64 { return float64(h.Refused) }),
		}, {
			name: "slicewatch_hint_evaluations_total", kind: counter, source: "the agent",
			help:   "Hints that were made anew.",
			series: about(func(h *snapshot.Hints) float64 { return float64(h.Evaluations) }),
		}, {
			name: "slicewatch_hint_windows_total", kind: counter, source: "the agent",
			help:   "Minutes of cpu.stat polls, or of records from the kernel, that CPU limits were made of.",
			series: about(func(h *snapshot.Hints) float64 { return float64(h.Windows) }),
		}, {
			name: "slicewatch_hint_windows_refused_total", kind: counter, source: "the agent",
			help:   "Minutes of polls that were not begun because as many as allowed were under way.",
			series: about(func(h *snapshot.Hints) float64 { return float64(h.WindowsRefused) }),
		},
	}
}
