// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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

func TestContainerValues(t *testing.T) {
	f := func(pairs ...uint64) map[cgroupfs.Field]uint64 {
		values := make(map[cgroupfs.Field]uint64)
		for i := 0; i < len(pairs); i += 2 {
			values[cgroupfs.Field(pairs[i])] = pairs[i+1]
		}
		return values
	}
	quotaGone := plainContainer(f(uint64(cgroupfs.CPUQuota), cgroupfs.Unlimited, uint64(cgroupfs.CPUPeriod), 100000,
		uint64(cgroupfs.CPUPeriods), 4, uint64(cgroupfs.CPUThrottled), 1234567))
	for _, test := range []struct {
		name      string
		container snapshot.Container
		want      map[string]string
	}{
		{"nothing is known", plainContainer(nil), map[string]string{"starts_total": "1"}},
		{
			"seconds are exact", plainContainer(f(uint64(cgroupfs.CPUUser), 15951355, uint64(cgroupfs.CPUSystem), 3)),
			map[string]string{`cpu_usage_seconds_total{mode="user"}`: "15.951355", `cpu_usage_seconds_total{mode="system"}`: "3e-06", "starts_total": "1"},
		},
		{
			"no quota, no CFS family",
			plainContainer(f(uint64(cgroupfs.CPUQuota), cgroupfs.Unlimited, uint64(cgroupfs.CPUPeriod), 100000, uint64(cgroupfs.CPUPeriods), 0,
				uint64(cgroupfs.CPUThrottledPeriods), 0, uint64(cgroupfs.CPUThrottled), 0, uint64(cgroupfs.CPUBurstPeriods), 0,
				uint64(cgroupfs.CPUBurst), 0, uint64(cgroupfs.CPUBurstLimit), 0)),
			map[string]string{"starts_total": "1"},
		},
		{
			"no cpu.max at all",
			plainContainer(f(uint64(cgroupfs.CPUPeriods), 0, uint64(cgroupfs.CPUThrottled), 0)),
			map[string]string{"starts_total": "1"},
		},
		{
			"quota, nothing throttled yet",
			plainContainer(f(uint64(cgroupfs.CPUQuota), 20000, uint64(cgroupfs.CPUPeriod), 200000, uint64(cgroupfs.CPUPeriods), 0,
				uint64(cgroupfs.CPUThrottledPeriods), 0, uint64(cgroupfs.CPUThrottled), 0, uint64(cgroupfs.CPUBurstLimit), 5000)),
			map[string]string{
				"cpu_limit_cores": "0.1", "cpu_periods_total": "0", "cpu_throttled_periods_total": "0",
				"cpu_throttled_seconds_total": "0", "cpu_burst_limit_seconds": "0.005", "starts_total": "1",
			},
		},
		{
			"quota taken away", quotaGone,
			map[string]string{"cpu_periods_total": "4", "cpu_throttled_seconds_total": "1.234567", "starts_total": "1"},
		},
		{
			"no limit",
			plainContainer(f(uint64(cgroupfs.MemoryMax), cgroupfs.Unlimited, uint64(cgroupfs.MemoryHigh), cgroupfs.Unlimited,
				uint64(cgroupfs.PIDsMax), cgroupfs.Unlimited, uint64(cgroupfs.MemoryMin), 0)),
			map[string]string{"memory_min_bytes": "0", "starts_total": "1"},
		},
		{
			"working set does not go below 0",
			plainContainer(f(uint64(cgroupfs.MemoryCurrent), 100, uint64(cgroupfs.MemoryInactiveFile), 300)),
			map[string]string{
				"memory_usage_bytes": "100", "memory_working_set_bytes": "0", `memory_stat_bytes{type="inactive_file"}`: "300", "starts_total": "1",
			},
		},
		{
			"may not swap", plainContainer(f(uint64(cgroupfs.SwapCurrent), 0, uint64(cgroupfs.SwapMax), 0, uint64(cgroupfs.SwapEventFail), 0)),
			map[string]string{"starts_total": "1"},
		},
		{
			"may swap", plainContainer(f(uint64(cgroupfs.SwapCurrent), 0, uint64(cgroupfs.SwapMax), cgroupfs.Unlimited, uint64(cgroupfs.SwapEventFail), 0)),
			map[string]string{"swap_usage_bytes": "0", `swap_events_total{event="fail"}`: "0", "starts_total": "1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, containerSamples(t, test.container)); diff != "" {
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
		isKept := strings.Contains(name, "_total") || slices.Contains([]string{"start_time_seconds", "cpu_peak_cores", "memory_peak_bytes"}, name)
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

func TestSelection(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := NewSelfMetrics(registry, Build{}); err != nil {
		t.Fatal(err)
	}
	whole := func(expression string) *regexp.Regexp { return regexp.MustCompile("^(?:" + expression + ")$") }
	const detail, plain = "slicewatch_container_memory_refaults_total", "slicewatch_container_pids"
	for _, test := range []struct {
		name            string
		selection       Selection
		present, absent []string
	}{
		{"default", Selection{}, []string{plain, "go_goroutines"}, []string{detail, "slicewatch_pod_pids_limit"}},
		{"all", Selection{DetailAll: true}, []string{plain, detail, "slicewatch_pod_pids_limit"}, nil},
		{"include", Selection{Include: whole(detail)}, []string{plain, detail}, []string{"slicewatch_pod_memory_refaults_total"}},
		{"exclude", Selection{Exclude: whole("go_.*|" + plain)}, nil, []string{plain, "go_goroutines"}},
		{"exclude wins", Selection{DetailAll: true, Include: whole(detail), Exclude: whole(detail)}, []string{plain}, []string{detail}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := parse(t, text(t, NewGatherer(storeOf(fullSnapshot()), registry, test.selection)))
			for _, name := range test.present {
				if found[name] == nil {
					t.Errorf("%s is missing", name)
				}
			}
			for _, name := range test.absent {
				if found[name] != nil {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
}

func TestNamespacesExclude(t *testing.T) {
	s := fullSnapshot()
	s.Pods = append(s.Pods, fullPod(2, "kube-system", "dns"))
	s.Containers = append(s.Containers, fullContainer(2, "kube-system", "dns", "coredns"), fullContainer(3, "", "uid", "0123456789ab"))
	selection := Selection{NamespacesExclude: regexp.MustCompile("^(?:kube-.*|)$")}
	for name, g := range map[string]*Gatherer{
		"own": NewGatherer(storeOf(s), nil, selection), "cadvisor": NewCadvisorGatherer(storeOf(s), selection),
	} {
		exposition := text(t, g)
		if strings.Contains(exposition, "kube-system") {
			t.Errorf("%s: the excluded namespace is there", name)
		}
		if !strings.Contains(exposition, `namespace="shop"`) || !strings.Contains(exposition, "0123456789ab") {
			t.Errorf("%s: another namespace or an unknown one is missing", name)
		}
	}
}

func TestHostileLabelValues(t *testing.T) {
	c := fullContainer(1, "shop", "a\"b\\c\nd\x00", "bad\xff\xfeutf8")
	c.Identity.Image = strings.Repeat("ä", 3000)
	store := storeOf(snapshot.Snapshot{Containers: []snapshot.Container{c}})
	mfs, done, err := NewGatherer(store, nil, Selection{}).Gather()
	defer done()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range mfs {
		for _, m := range mf.Metric {
			for _, l := range m.Label {
				if !utf8.ValidString(l.GetValue()) || len(l.GetValue()) > maxLabelBytes {
					t.Errorf("%s: label %s is %d bytes, valid: %t", mf.GetName(), l.GetName(), len(l.GetValue()), utf8.ValidString(l.GetValue()))
				}
			}
		}
	}
	got := make(map[string]string)
	for _, l := range parse(t, text(t, NewGatherer(store, nil, Selection{})))["slicewatch_container_pids"].GetMetric()[0].Label {
		got[l.GetName()] = l.GetValue()
	}
	want := map[string]string{"namespace": "shop", "pod": "a\"b\\c\nd\x00", "container": "bad?utf8", "qos": "burstable"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("labels after a parser read them back (-want +got):\n%s", diff)
	}
}

func FuzzCleanLabelValue(f *testing.F) {
	for _, seed := range []string{"", "web-1", "bad\xff\xfeutf8", strings.Repeat("ä", 600), strings.Repeat("\xf0\x9f", 700), strings.Repeat("x", 1024) + "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := cleanLabelValue(value)
		if !utf8.ValidString(got) || len(got) > maxLabelBytes {
			t.Errorf("%q became %q", value, got)
		}
		if utf8.ValidString(value) && len(value) <= maxLabelBytes && got != value {
			t.Errorf("%q became %q for no reason", value, got)
		}
	})
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

func TestHistogramsOfContainers(t *testing.T) {
	table := []family{{
		name: "slicewatch_container_test_seconds", help: "A histogram.", kind: histogram, unit: unitSeconds, level: levelContainer,
		series: []series{{histogram: func(s *subject, h *dto.Histogram) bool {
			h.SampleCount, h.SampleSum = new(s.container.Starts), new(1.5)
			h.Bucket = []*dto.Bucket{{UpperBound: new(0.1), CumulativeCount: new(s.container.Starts)}}
			return s.container.Starts > 0
		}}},
	}}
	none, one := plainContainer(nil), plainContainer(nil)
	none.Series, none.Starts, one.Starts = 2, 0, 3
	none.Identity = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-2", Name: "app"}
	g := newGatherer(storeOf(snapshot.Snapshot{Containers: []snapshot.Container{one, none}}), nil, Selection{}, table)
	want := map[string]string{
		`slicewatch_container_test_seconds_bucket{container="app",namespace="shop",pod="web-1",qos="burstable",le="0.1"}`:  "3",
		`slicewatch_container_test_seconds_bucket{container="app",namespace="shop",pod="web-1",qos="burstable",le="+Inf"}`: "3",
		`slicewatch_container_test_seconds_sum{container="app",namespace="shop",pod="web-1",qos="burstable"}`:              "1.5",
		`slicewatch_container_test_seconds_count{container="app",namespace="shop",pod="web-1",qos="burstable"}`:            "3",
	}
	if diff := cmp.Diff(want, samples(t, text(t, g))); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
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
