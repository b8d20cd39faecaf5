// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// epoch is a midnight, so that days are whole.
var epoch = time.Date(2027, 1, 11, 0, 0, 0, 0, time.UTC)

const (
	day = 24 * time.Hour
	mi  = 1 << 20
)

// story is a container's history in the making.
type story struct {
	*history.Series
	now   time.Time
	limit history.Number
}

func begin() *story {
	return &story{Series: history.NewStore(history.Config{}).Series(history.Key{Workload: "web", Container: "app"}, epoch), now: epoch}
}

// uses adds samples of a minute each with the same use.
func (s *story) uses(length time.Duration, cores, bytes float64) *story {
	for end := s.now.Add(length); s.now.Before(end); {
		s.now = s.now.Add(time.Minute)
		sample := history.Sample{At: s.now, Elapsed: time.Minute, MemoryLimitBytes: s.limit}
		if cores >= 0 {
			sample.CPUCores = history.Known(cores)
		}
		if bytes > 0 {
			sample.WorkingSetBytes = history.Known(bytes)
		}
		s.Add(sample)
	}
	return s
}

// often adds samples of a minute each that are idle but for the last one of each
// span.
func (s *story) often(length, span time.Duration, cores float64) *story {
	for end := s.now.Add(length); s.now.Before(end); {
		s.uses(span-time.Minute, 0, 100*mi).uses(time.Minute, cores, 100*mi)
	}
	return s
}

// seconds adds samples of a second each.
func (s *story) seconds(n int, cores float64) *story {
	for range n {
		s.now = s.now.Add(time.Second)
		s.Add(history.Sample{At: s.now, Elapsed: time.Second, CPUCores: history.Known(cores)})
	}
	return s
}

func (s *story) window(change func(*history.Window)) *story {
	w := history.Window{Start: s.now, End: s.now.Add(time.Minute), QuotaCores: 0.5, UsedCores: 0.2, Periods: 580, Exact: true}
	change(&w)
	s.AddWindow(w)
	s.now = w.End
	return s
}

func (s *story) killed(scope history.OOMScope, limit float64) *story {
	s.AddOOM(history.OOM{At: s.now, Scope: scope, LimitBytes: limit})
	return s
}

func throttled(w *history.Window) {
	w.Throttled, w.Slowdown, w.Concurrency = 240, 0.31, 4
	based(history.BasisPeriods, 0.89/1.05, 1.05)(w)
}

// based gives a window another need.
func based(on history.Basis, cores, margin float64) func(*history.Window) {
	return func(w *history.Window) { w.Basis, w.BasisCores, w.NeedCores = on, cores, cores*margin }
}

func throttledBy(on history.Basis, cores, margin float64) func(*history.Window) {
	return func(w *history.Window) { throttled(w); based(on, cores, margin)(w) }
}

func amount(v float64) snapshot.Quantity { return snapshot.Quantity{V: v, Known: true} }

// limits are facts with requests and limits.
func limits(cpuRequest, cpuLimit, memoryRequest, memoryLimit float64) Facts {
	return Facts{
		CPURequestCores: amount(cpuRequest), CPULimitCores: amount(cpuLimit),
		MemoryRequestBytes: amount(memoryRequest), MemoryLimitBytes: amount(memoryLimit),
		QoS: cgroupfs.Burstable, QoSKnown: true,
	}
}

type scenario struct {
	name     string
	story    *story
	facts    Facts
	settings Settings
}

func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

// growing uses a tenth more each day.
func growing(days int) *story {
	s := begin()
	for range days {
		s.uses(day, 0.2*math.Pow(1.1, s.now.Sub(epoch).Hours()/24), 100*mi)
	}
	return s
}

// working is busy for an hour and a half of each day, which is more than 5 % of it.
func working(days int) *story {
	s := begin()
	for range days {
		s.uses(6*time.Hour, 0.02, 100*mi).uses(90*time.Minute, 0.5, 100*mi).uses(day-90*time.Minute-6*time.Hour, 0.02, 100*mi)
	}
	return s
}

func cpuScenarios() []scenario {
	plain := limits(0.25, 0.5, 256*mi, 512*mi)
	return []scenario{
		{"nothing seen", begin(), plain, Settings{}},
		{"too little seen", begin().seconds(59, 0.2), plain, Settings{}},
		{"just enough seen", begin().seconds(60, 0.2), plain, Settings{}},
		{"idle for days", begin().uses(3*day, 0, 100*mi), plain, Settings{}},
		{"idle after a start", begin().uses(10*time.Minute, 0.8, 100*mi).uses(3*day, 0, 100*mi), plain, Settings{}},
		{"idle, having been throttled at its start", begin().uses(10*time.Minute, 0.8, 100*mi).window(throttled).uses(3*day, 0.0003, 100*mi), plain, Settings{Policy: Guaranteed}},
		{"idle for a day", begin().uses(10*time.Minute, 0.8, 100*mi).uses(day, 0, 100*mi), plain, Settings{}},
		{"work once a day", begin().often(4*day, day, 0.3), plain, Settings{}},
		{"steady for a week", begin().uses(7*day, 0.2, 100*mi), plain, Settings{}},
		{"steady with headroom", begin().uses(day, 0.2, 100*mi), plain, Settings{CPUHeadroom: 1.1}},
		{"no CPU limit wanted", begin().uses(day, 0.2, 100*mi).window(throttled), plain, Settings{Policy: NoCPULimit}},
		{"guaranteed by annotation", begin().uses(day, 0.2, 100*mi), with(plain, func(f *Facts) { f.Annotation = "guaranteed" }), Settings{}},
		{"annotation with a typo", begin().uses(day, 0.2, 100*mi), with(plain, func(f *Facts) { f.Annotation = "guarantied" }), Settings{}},
		{"stateful set", begin().uses(day, 0.2, 100*mi), with(plain, func(f *Facts) { f.WorkloadKind = "StatefulSet" }), Settings{}},
		{"throttled by a burst", begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { throttled(w); w.BurstSeconds = 0.039 }), plain, Settings{}},
		{"throttled, found by polls", begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { throttledBy(history.BasisPeriods, 0.8, 1.1)(w); w.Exact = false }), plain, Settings{}},
		{"throttled, queues that merge", begin().uses(day, 0.2, 100*mi).window(throttledBy(history.BasisTail, 0.9, 1.1)), plain, Settings{}},
		{"throttled, long waits", begin().uses(day, 0.2, 100*mi).window(throttledBy(history.BasisSlowdown, 0.9, 1.05)), plain, Settings{}},
		{"throttled, short turns", begin().uses(day, 0.05, 100*mi).window(throttledBy(history.BasisTurns, 1.75*0.13, 1.05)), plain, Settings{}},
		{"throttled, a busy thread", begin().uses(day, 0.2, 100*mi).window(throttledBy(history.BasisBusy, 1.2, 1.05)), plain, Settings{}},
		{"throttled, at most all CPUs", begin().uses(day, 0.2, 100*mi).window(throttledBy(history.BasisMost, 2, 1.05)), plain, Settings{}},
		{"throttled by a little", begin().uses(day, 0.2, 100*mi).window(throttledBy(history.BasisRaise, 0.5, 1.25)), plain, Settings{}},
		{"throttled, a window of an earlier version", begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { throttled(w); w.Basis, w.BasisCores = "", 0 }), plain, Settings{}},
		{"saturated", begin().uses(day, 0.5, 100*mi).window(func(w *history.Window) {
			throttledBy(history.BasisMost, 4, 1.05)(w)
			w.Saturated, w.UsedCores = true, 0.5
		}),
			with(plain, func(f *Facts) { f.NodeCPUs = amount(4) }), Settings{}},
		{"not throttled", begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { w.NeedCores = 0.47 }), plain, Settings{}},
		{"corrected after a change", begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { throttled(w); w.NeedCores = 4.2; w.Saturated = true }).
			window(func(w *history.Window) { w.QuotaCores, w.NeedCores = 4.2, 0.8 }), plain, Settings{}},
		{"a start that took more", begin().uses(time.Minute, 1, 100*mi).uses(day, 0.15, 100*mi), plain, Settings{}},
		{"it grows", growing(5), plain, Settings{}},
		{"it is quieter than days ago", begin().uses(4*day, 0.2, 100*mi).uses(2*day, 0.1, 100*mi), plain, Settings{}},
		{"an hour of work each day", working(7), plain, Settings{}},
		{"request far too high", begin().uses(2*day, 0.05, 30*mi), limits(0.5, 1, 512*mi, 512*mi), Settings{}},
		{"more than the node has", begin().uses(day, 3, 100*mi), with(plain, func(f *Facts) { f.NodeCPUs = amount(4) }), Settings{}},
	}
}

func memoryScenarios() []scenario {
	plain := limits(0.25, 0.5, 256*mi, 512*mi)
	limited := func(s *story) *story { s.limit = history.Known(512 * mi); return s }
	grow := func(s *story) *story {
		for hour := range 12 {
			s.uses(time.Hour, 0.1, float64(100+30*hour)*mi)
		}
		return s
	}
	steps := begin()
	for _, peak := range []float64{100, 130, 120, 160, 150, 140} {
		steps.uses(day, 0.1, peak*mi)
	}
	none := with(limits(0, 0, 0, 0), func(f *Facts) { f.QoS = cgroupfs.BestEffort })
	return []scenario{
		{"days that step up", steps, plain, Settings{}},
		{"killed at its own limit", limited(begin()).uses(2*day, 0.1, 500*mi).killed(history.OOMContainer, 512*mi), plain, Settings{}},
		{"killed at a small limit", begin().uses(day, 0.1, 30*mi).killed(history.OOMContainer, 64*mi), limits(0.25, 0.5, 64*mi, 64*mi), Settings{}},
		{"killed far above any peak", begin().uses(day, 0.1, 100*mi).killed(history.OOMContainer, 390*mi), limits(0.25, 0.5, 390*mi, 390*mi), Settings{}},
		{"killed at the pod's limit", begin().uses(day, 0.1, 200*mi).killed(history.OOMPod, 256*mi), plain, Settings{}},
		{"killed before any sample", begin().killed(history.OOMContainer, 64*mi), limits(0.25, 0.5, 64*mi, 64*mi), Settings{}},
		{"killed by the node", begin().uses(day, 0.1, 200*mi).killed(history.OOMElsewhere, 512*mi), plain, Settings{}},
		{"killed two days ago", begin().uses(day, 0.1, 200*mi).killed(history.OOMContainer, 256*mi).uses(2*day, 0.1, 300*mi), plain, Settings{}},
		{"grows without end", grow(begin()), plain, Settings{}},
		{"no requests, no limits", begin().uses(day, 0.1, 100*mi), none, Settings{}},
		{"Node.js", begin().uses(7*day, 0.1, 300*mi), with(plain, func(f *Facts) {
			f.Runtime = snapshot.Runtime{Kind: snapshot.RuntimeNodeJS, Setting: "--max-old-space-size=384"}
		}), Settings{}},
		{"MongoDB in a stateful set", begin().uses(7*day, 0.4, 1500*mi), with(plain, func(f *Facts) {
			f.WorkloadKind, f.Runtime = "StatefulSet", snapshot.Runtime{Kind: snapshot.RuntimeMongoDB}
		}), Settings{}},
		{"Go", begin().uses(7*day, 0.8, 100*mi), with(plain, func(f *Facts) { f.Runtime = snapshot.Runtime{Kind: snapshot.RuntimeGo} }), Settings{}},
		{"Redis", begin().uses(7*day, 0.1, 100*mi), with(plain, func(f *Facts) { f.Runtime = snapshot.Runtime{Kind: snapshot.RuntimeRedis} }), Settings{Policy: NoCPULimit}},
		{"JVM", begin().uses(7*day, 0.1, 900*mi), with(plain, func(f *Facts) { f.Runtime = snapshot.Runtime{Kind: snapshot.RuntimeJVM, Setting: "-Xmx1g"} }), Settings{}},
		{"more memory than the node has", begin().uses(day, 0.1, 3000*mi), with(plain, func(f *Facts) { f.NodeMemoryBytes = amount(4096 * mi) }), Settings{}},
	}
}

// strained adds three minutes of samples with a strain.
func strained(change func(*history.Sample)) *story {
	s := begin().uses(day, 0.1, 400*mi)
	for range 12 {
		s.now = s.now.Add(15 * time.Second)
		sample := history.Sample{At: s.now, Elapsed: 15 * time.Second, WorkingSetBytes: history.Known(480 * mi), MemoryLimitBytes: history.Known(512 * mi)}
		change(&sample)
		s.Add(sample)
	}
	return s
}

func strainScenarios() []scenario {
	plain := limits(0.25, 0.5, 256*mi, 512*mi)
	set := Settings{Policy: NoCPULimit}
	return []scenario{
		{"memory pressure near the limit", strained(func(s *history.Sample) { s.MemoryPressure = history.Known(0.18) }), plain, set},
		{"memory pressure far from the limit", strained(func(s *history.Sample) {
			s.MemoryPressure, s.WorkingSetBytes = history.Known(0.18), history.Known(400*mi)
		}), plain, set},
		{"held at memory.high", strained(func(s *history.Sample) { s.MemoryHighEvents = history.Known(7) }), plain, set},
		{"file pages read again", strained(func(s *history.Sample) { s.FileRefaults = history.Known(60000) }), plain, set},
	}
}

// TestRules holds every sentence: the numbers in them can be recomputed by
// hand from the stories above.
func TestRules(t *testing.T) {
	for file, scenarios := range map[string][]scenario{"cpu": cpuScenarios(), "memory": memoryScenarios(), "strain": strainScenarios()} {
		var b strings.Builder
		for _, s := range scenarios {
			fmt.Fprintf(&b, "== %s\n%s\n", s.name, describe(Advise(s.story.Series, s.facts, s.settings, s.story.now)))
		}
		path := filepath.Join("testdata", file+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s: got other hints (-want +got); -update takes them over:\n%s", path, diff)
		}
	}
}

func describe(h snapshot.Hint) string {
	var b strings.Builder
	show := func(name string, q snapshot.Quantity, spell func(float64) string) {
		if q.Known {
			fmt.Fprintf(&b, "%s %s  ", name, spell(q.V))
		}
	}
	show("cpu request", h.CPURequestCores, cores)
	show("limit", h.CPULimitCores, cores)
	if h.NoCPULimit {
		b.WriteString("limit none  ")
	}
	show("memory request", h.MemoryRequestBytes, bytes)
	show("limit", h.MemoryLimitBytes, bytes)
	fmt.Fprintf(&b, "policy %s  confidence %.2f  urgent %t\n", h.Policy, h.Confidence, h.Urgent)
	for _, r := range h.Reasons {
		fmt.Fprintf(&b, "%s %s: %s\n", r.Resource, r.Code, r.Text)
	}
	return b.String()
}
