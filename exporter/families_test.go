// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

func TestFamiliesAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range slices.Concat(snapshotFamilies(), registryFamilies(), cadvisorFamilies()) {
		if seen[f.name] {
			t.Errorf("%s is there twice", f.name)
		}
		seen[f.name] = true
		if f.help == "" || f.sources() == "" || strings.Contains(f.help, "@") || strings.Contains(f.help, "|") {
			t.Errorf("%s: help %q, source %q", f.name, f.help, f.sources())
		}
		if f.level == levelRegistry {
			continue
		}
		if len(f.series) == 0 {
			t.Errorf("%s has no series", f.name)
		}
		for _, s := range f.series {
			if s.dynamic == nil && len(s.values) != len(f.labels) {
				t.Errorf("%s: %d values for labels %q", f.name, len(s.values), f.labels)
			}
			if (s.dynamic == nil) != (s.render == nil) || (s.value == nil) == (s.histogram == nil) {
				t.Errorf("%s: dynamic goes with render, and there is either a value or a histogram", f.name)
			}
		}
	}
}

// Every cgroup field must be exported somewhere, or somebody reads it for
// nothing.
func TestEveryFieldIsExported(t *testing.T) {
	exported := make(map[cgroupfs.Field]bool)
	for _, f := range snapshotFamilies() {
		for _, s := range f.series {
			for _, field := range s.fields {
				exported[field] = true
			}
		}
	}
	// Total CPU usage is the sum of the two modes; peak and usage feed peaks,
	// oom.group tells the sandbox.
	for _, field := range []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.MemoryPeak, cgroupfs.MemoryOOMGroup, cgroupfs.SwapMax} {
		exported[field] = true
	}
	for field := range cgroupfs.NumFields {
		if !exported[field] {
			t.Errorf("%s is in no family", field)
		}
	}
}

func TestDefaultSeriesStayWithinBounds(t *testing.T) {
	full := fullSnapshot()
	c := &full.Containers[0] // histograms are beside the bounds
	c.ThrottleDurations, c.StallsHigh, c.StallsLimit = nil, nil, nil
	found := samples(t, text(t, NewGatherer(storeOf(full), nil, Selection{})))
	for prefix, bound := range map[string]int{"slicewatch_container_": 50, "slicewatch_pod_": 24} {
		count := 0
		for series := range found {
			if strings.HasPrefix(series, prefix) {
				count++
			}
		}
		if count > bound || count < bound-4 {
			t.Errorf("%d series %s* by default, want at most %d and not far fewer", count, prefix, bound)
		}
	}
}

func TestPodDefaults(t *testing.T) {
	var names []string
	for name := range parse(t, text(t, NewGatherer(storeOf(fullSnapshot()), nil, Selection{}))) {
		if suffix, ok := strings.CutPrefix(name, "slicewatch_pod_"); ok {
			names = append(names, suffix)
		}
	}
	slices.Sort(names)
	want := []string{
		"cpu_limit_cores", "cpu_periods_total", "cpu_pressure_seconds_total", "cpu_throttled_periods_total",
		"cpu_throttled_seconds_total", "cpu_usage_seconds_total", "io_pressure_seconds_total", "memory_events_total",
		"memory_limit_bytes", "memory_pressure_seconds_total", "memory_usage_bytes", "memory_working_set_bytes", "pids",
	}
	if !slices.Equal(names, want) {
		t.Errorf("default families of pods:\n got %q\nwant %q", names, want)
	}
}

func TestExpositionIsLintClean(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	self, err := NewSelfMetrics(registry, Build{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	self.SweepDone("files", 3e6)
	self.SweepErrors("read", 1)
	self.EventsLost("oom", 1)
	problems, err := testutil.GatherAndLint(copying(NewGatherer(storeOf(fullSnapshot()), registry, Selection{DetailAll: true})))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "slicewatch_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	// client_golang's own check: names, labels, types, no duplicates.
	if _, err := (prometheus.Gatherers{copying(NewGatherer(storeOf(fullSnapshot()), registry, Selection{DetailAll: true}))}).Gather(); err != nil {
		t.Error(err)
	}
	if _, err := (prometheus.Gatherers{copying(NewCadvisorGatherer(storeOf(fullSnapshot()), Selection{}))}).Gather(); err != nil {
		t.Error(err)
	}
}

func TestEveryFamilyAppears(t *testing.T) {
	own := parse(t, text(t, NewGatherer(storeOf(fullSnapshot()), nil, Selection{DetailAll: true})))
	for _, f := range snapshotFamilies() {
		mf := own[f.name]
		if mf == nil {
			t.Errorf("%s is not in the exposition of a snapshot that has everything", f.name)
			continue
		}
		if mf.GetHelp() != f.help || mf.GetType() != f.kind {
			t.Errorf("%s: help %q, type %s", f.name, mf.GetHelp(), mf.GetType())
		}
	}
	cadvisor := parse(t, text(t, NewCadvisorGatherer(storeOf(fullSnapshot()), Selection{})))
	for _, f := range cadvisorFamilies() {
		if cadvisor[f.name] == nil {
			t.Errorf("%s is not in the exposition of a snapshot that has everything", f.name)
		}
	}
}

func TestReference(t *testing.T) {
	const path = "../docs/metrics.md"
	var b bytes.Buffer
	if err := WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what the code says; write it anew with -update", path)
	}
	for _, f := range slices.Concat(snapshotFamilies(), registryFamilies(), cadvisorFamilies()) {
		if !bytes.Contains(b.Bytes(), []byte("| `"+f.name+"` |")) {
			t.Errorf("%s is not in the reference", f.name)
		}
	}
}
