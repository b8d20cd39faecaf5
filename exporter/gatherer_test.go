// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// only returns the samples whose series begin with prefix.
func only(all map[string]string, prefix string) map[string]string {
	found := make(map[string]string)
	for series, value := range all {
		if strings.HasPrefix(series, prefix) {
			found[series] = value
		}
	}
	return found
}

func containerSamples(t *testing.T, c snapshot.Container) map[string]string {
	t.Helper()
	store := storeOf(snapshot.Snapshot{Taken: taken, Containers: []snapshot.Container{c}})
	found := make(map[string]string)
	for series, value := range samples(t, text(t, NewGatherer(store, nil, Selection{DetailAll: true}))) {
		name, ok := strings.CutPrefix(series, "slicewatch_container_")
		if !ok || strings.HasPrefix(name, "info") {
			continue
		}
		name = regexp.MustCompile(`(container="app"|namespace="shop"|pod="web-1"|qos="burstable"),?`).ReplaceAllString(name, "")
		found[strings.NewReplacer(",}", "}", "{}", "").Replace(name)] = value
	}
	return found
}

func plainContainer(values map[cgroupfs.Field]uint64) snapshot.Container {
	return snapshot.Container{
		Measures: measures(values), Series: 1, QoS: cgroupfs.Burstable, Starts: 1,
		Identity: &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-1", Name: "app", Known: true},
	}
}

type valuesCase struct {
	name   string
	fields map[cgroupfs.Field]uint64
	want   map[string]string
}

func cpuCases() []valuesCase {
	return []valuesCase{
		{"nothing is known", nil, nil},
		{
			"seconds are exact", map[cgroupfs.Field]uint64{cgroupfs.CPUUser: 15951355, cgroupfs.CPUSystem: 3},
			map[string]string{`cpu_usage_seconds_total{mode="user"}`: "15.951355", `cpu_usage_seconds_total{mode="system"}`: "3e-06"},
		},
		{
			"no quota, no CFS family",
			map[cgroupfs.Field]uint64{
				cgroupfs.CPUQuota: cgroupfs.Unlimited, cgroupfs.CPUPeriod: 100000, cgroupfs.CPUPeriods: 0, cgroupfs.CPUThrottledPeriods: 0,
				cgroupfs.CPUThrottled: 0, cgroupfs.CPUBurstPeriods: 0, cgroupfs.CPUBurst: 0, cgroupfs.CPUBurstLimit: 0,
			}, nil,
		},
		{"no cpu.max at all", map[cgroupfs.Field]uint64{cgroupfs.CPUPeriods: 0, cgroupfs.CPUThrottled: 0}, nil},
		{
			"quota, nothing throttled yet",
			map[cgroupfs.Field]uint64{
				cgroupfs.CPUQuota: 20000, cgroupfs.CPUPeriod: 200000, cgroupfs.CPUPeriods: 0, cgroupfs.CPUThrottledPeriods: 0,
				cgroupfs.CPUThrottled: 0, cgroupfs.CPUBurstLimit: 5000,
			},
			map[string]string{
				"cpu_limit_cores": "0.1", "cpu_periods_total": "0", "cpu_throttled_periods_total": "0",
				"cpu_throttled_seconds_total": "0", "cpu_burst_limit_seconds": "0.005",
			},
		},
		{
			"quota taken away",
			map[cgroupfs.Field]uint64{
				cgroupfs.CPUQuota: cgroupfs.Unlimited, cgroupfs.CPUPeriod: 100000, cgroupfs.CPUPeriods: 4, cgroupfs.CPUThrottled: 1234567,
			},
			map[string]string{"cpu_periods_total": "4", "cpu_throttled_seconds_total": "1.234567"},
		},
	}
}

func memoryCases() []valuesCase {
	return []valuesCase{
		{
			"no limit",
			map[cgroupfs.Field]uint64{
				cgroupfs.MemoryMax: cgroupfs.Unlimited, cgroupfs.MemoryHigh: cgroupfs.Unlimited, cgroupfs.PIDsMax: cgroupfs.Unlimited,
				cgroupfs.MemoryMin: 0,
			},
			map[string]string{"memory_min_bytes": "0"},
		},
		{
			"working set does not go below 0", map[cgroupfs.Field]uint64{cgroupfs.MemoryCurrent: 100, cgroupfs.MemoryInactiveFile: 300},
			map[string]string{
				"memory_usage_bytes": "100", "memory_working_set_bytes": "0", `memory_stat_bytes{type="inactive_file"}`: "300",
			},
		},
		{"may not swap", map[cgroupfs.Field]uint64{cgroupfs.SwapCurrent: 0, cgroupfs.SwapMax: 0, cgroupfs.SwapEventFail: 0}, nil},
		{
			"may swap", map[cgroupfs.Field]uint64{cgroupfs.SwapCurrent: 0, cgroupfs.SwapMax: cgroupfs.Unlimited, cgroupfs.SwapEventFail: 0},
			map[string]string{"swap_usage_bytes": "0", `swap_events_total{event="fail"}`: "0"},
		},
		{
			"may not swap any more", map[cgroupfs.Field]uint64{cgroupfs.SwapCurrent: 4096, cgroupfs.SwapMax: 0, cgroupfs.SwapEventFail: 2},
			map[string]string{"swap_usage_bytes": "4096", `swap_events_total{event="fail"}`: "2"},
		},
	}
}

func TestContainerValues(t *testing.T) {
	for _, test := range slices.Concat(cpuCases(), memoryCases()) {
		t.Run(test.name, func(t *testing.T) {
			want := map[string]string{"starts_total": "1"}
			maps.Copy(want, test.want)
			if diff := cmp.Diff(want, containerSamples(t, plainContainer(test.fields))); diff != "" {
				t.Errorf("samples (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCountersAreTotalsAndGaugesAreCurrent(t *testing.T) {
	c := plainContainer(map[cgroupfs.Field]uint64{cgroupfs.MemoryMajorFaults: 3, cgroupfs.PIDsCurrent: 5})
	c.Total.Set(cgroupfs.MemoryMajorFaults, 1003)
	want := map[string]string{"memory_major_faults_total": "1003", "pids": "5", "starts_total": "1"}
	if diff := cmp.Diff(want, containerSamples(t, c)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestEndedContainerKeepsCounters(t *testing.T) {
	c := fullContainer(1, "shop", "web-1", "app")
	before := containerSamples(t, c)
	c.Ended, c.Current = taken, cgroupfs.Reading{}
	after := containerSamples(t, c)
	for name, value := range before {
		isKept := strings.Contains(name, "_total") || strings.Contains(name, "_duration_seconds") || slices.Contains([]string{"start_time_seconds", "cpu_peak_cores", "memory_peak_bytes"}, name)
		if got, ok := after[name]; ok != isKept || isKept && got != value {
			t.Errorf("%s: was %s, is %q (there: %t) after the end", name, value, got, ok)
		}
	}
	if info := only(samples(t, text(t, NewGatherer(storeOf(snapshot.Snapshot{Containers: []snapshot.Container{c}}), nil, Selection{}))),
		"slicewatch_container_info"); len(info) != 1 {
		t.Errorf("info of an ended container: %v", info)
	}
	s := snapshot.Snapshot{Containers: []snapshot.Container{c}}
	if found := samples(t, text(t, NewCadvisorGatherer(storeOf(s), Selection{}))); len(only(found, "container_")) != 0 {
		t.Errorf("cAdvisor's names show an ended container: %v", found)
	}
}

func TestSandboxHasNoContainerSeries(t *testing.T) {
	s := fullSnapshot()
	s.Containers[0].Sandbox = true
	if found := only(samples(t, text(t, NewGatherer(storeOf(s), nil, Selection{DetailAll: true}))), "slicewatch_container_"); len(found) != 0 {
		t.Errorf("sandbox has %v", found)
	}
}

func TestInfoFollowsTheNewestIncarnation(t *testing.T) {
	s := fullSnapshot()
	store := storeOf(s)
	g := NewGatherer(store, nil, Selection{})
	first := slices.Sorted(maps.Keys(only(samples(t, text(t, g)), "slicewatch_container_info")))
	next := fullContainer(2, "shop", "web-1", "app")
	next.Series = 1
	s.Containers = []snapshot.Container{next}
	publish(store, s)
	second := slices.Sorted(maps.Keys(only(samples(t, text(t, g)), "slicewatch_container_info")))
	if len(first) != 1 || len(second) != 1 || first[0] == second[0] || !strings.Contains(second[0], "containerd://"+next.ContainerID) {
		t.Errorf("info was %q, is %q", first, second)
	}
}

func TestRenamedSeries(t *testing.T) {
	unnamed := fullContainer(1, "", "uid-web-1", "0123456789ab")
	s := snapshot.Snapshot{Containers: []snapshot.Container{unnamed}}
	store := storeOf(s)
	g := NewGatherer(store, nil, Selection{})
	before := samples(t, text(t, g))
	for _, series := range []uint64{9, 9} { // with another number, as the contract is
		publish(store, snapshot.Snapshot{Containers: []snapshot.Container{fullContainer(series, "shop", "web-1", "app")}})
		after := only(samples(t, text(t, g)), "slicewatch_container_")
		for series := range after {
			if !strings.Contains(series, `container="app"`) || !strings.Contains(series, `namespace="shop"`) {
				t.Errorf("series %s after the new name", series)
			}
		}
		if len(after) != len(only(before, "slicewatch_container_")) {
			t.Errorf("%d series before the new name, %d after", len(before), len(after))
		}
	}
	// Other labels under a number that was not renewed must not be lost.
	publish(store, snapshot.Snapshot{Containers: []snapshot.Container{fullContainer(9, "shop", "web-2", "app")}})
	for series := range only(samples(t, text(t, g)), "slicewatch_container_") {
		if !strings.Contains(series, `pod="web-2"`) {
			t.Errorf("series %s keeps the old name", series)
		}
	}
}

func TestSameLabelsAreExportedOnce(t *testing.T) {
	older, newer := fullContainer(3, "shop", "web-1", "app"), fullContainer(4, "shop", "web-1", "app")
	newer.Starts = 44
	for _, order := range [][]snapshot.Container{{older, newer}, {newer, older}} {
		g := NewGatherer(storeOf(snapshot.Snapshot{Containers: order}), nil, Selection{})
		// samples fails the test on what is there twice.
		found := only(samples(t, text(t, g)), "slicewatch_container_starts_total")
		if len(found) != 1 || !slices.Contains(slices.Collect(maps.Values(found)), "44") {
			t.Errorf("starts: %v, want the newest series' 44", found)
		}
	}
}

func TestRowsAreSortedAndForgotten(t *testing.T) {
	store := storeOf(snapshot.Snapshot{Containers: []snapshot.Container{
		fullContainer(1, "b", "p", "c"), fullContainer(2, "a", "q", "c"), fullContainer(3, "a", "p", "z"), fullContainer(4, "a", "p", "c"),
	}})
	g := NewGatherer(store, nil, Selection{})
	var order []string
	for line := range strings.Lines(text(t, g)) {
		if labels, ok := strings.CutPrefix(line, "slicewatch_container_pids{"); ok {
			order = append(order, labels[:strings.IndexByte(labels, '}')])
		}
	}
	want := []string{
		`container="c",namespace="a",pod="p",qos="burstable"`, `container="z",namespace="a",pod="p",qos="burstable"`,
		`container="c",namespace="a",pod="q",qos="burstable"`, `container="c",namespace="b",pod="p",qos="burstable"`,
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	publish(store, snapshot.Snapshot{})
	if found := only(samples(t, text(t, g)), "slicewatch_container_"); len(found) != 0 {
		t.Errorf("containers that are gone: %v", found)
	}
	for _, p := range g.plans {
		if p.level == levelContainer && (len(p.rows) != 0 || len(p.order) != 0) {
			t.Errorf("%d rows are kept of containers that are gone", len(p.rows))
		}
	}
}

func TestBeforeTheFirstSnapshot(t *testing.T) {
	registry := prometheus.NewRegistry()
	self, err := NewSelfMetrics(registry, Build{Version: "1.2.3", Revision: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	self.SweepErrors("read", 2)
	found := samples(t, text(t, NewGatherer(snapshot.NewStore(), registry, Selection{})))
	if found[`slicewatch_sweep_errors_total{reason="read"}`] != "2" || len(only(found, "slicewatch_build_info")) != 1 {
		t.Errorf("own metrics are missing in %v", found)
	}
	if len(only(found, "slicewatch_snapshot_timestamp_seconds")) != 0 {
		t.Error("there is a snapshot's time before there is one")
	}
}

func TestNodeValues(t *testing.T) {
	found := samples(t, text(t, NewGatherer(storeOf(fullSnapshot()), nil, Selection{})))
	for series, want := range map[string]string{
		`slicewatch_node_cpu_cores`: "4",
		`slicewatch_node_pressure_seconds_total{kind="some",resource="memory"}`: "1.5",
		`slicewatch_snapshot_timestamp_seconds`:                                 "1.795291430786e+09",
		`slicewatch_source_up{source="cgroup_files"}`:                           "1",
		`slicewatch_source_up{source="procfs"}`:                                 "0",
		`slicewatch_cgroups{level="pod"}`:                                       "1",
		`slicewatch_cgroup_files_limit`:                                         "200",
		`slicewatch_state_write_errors_total`:                                   "12",
	} {
		if found[series] != want {
			t.Errorf("%s is %q, want %s", series, found[series], want)
		}
	}
	if taken.UnixMilli() != 1795291430786 {
		t.Errorf("the test's time is %d", taken.UnixMilli())
	}
	empty := samples(t, text(t, NewGatherer(storeOf(snapshot.Snapshot{Taken: time.Unix(1, 0)}), nil, Selection{})))
	for _, name := range []string{"slicewatch_node_", "slicewatch_source_up", "slicewatch_cgroup_files_limit", "slicewatch_qos_", "slicewatch_kubepods_"} {
		if some := only(empty, name); len(some) != 0 {
			t.Errorf("what is not known is there: %v", some)
		}
	}
}
