// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

var taken = time.Date(2026, 11, 21, 20, 3, 50, 786e6, time.UTC)

func known(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }

// measures returns a living cgroup's reading with its counters as totals.
func measures(values map[cgroupfs.Field]uint64) snapshot.Measures {
	var m snapshot.Measures
	for f, v := range values {
		m.Current.Set(f, v)
		if f.Info().Counter {
			m.Total.Set(f, v)
		}
	}
	return m
}

// everything returns a measure with every field there is, each with another
// value and each limit set.
func everything() snapshot.Measures {
	values := make(map[cgroupfs.Field]uint64)
	for f := range cgroupfs.NumFields {
		values[f] = 1_000_000 + uint64(f)
	}
	return measures(values)
}

// durations returns a histogram of some durations in ns.
func durations(nanos ...uint64) *snapshot.Histogram {
	bounds := snapshot.DurationBoundsNanos()
	cells, sum := make([]uint64, len(bounds)+1), uint64(0)
	for _, n := range nanos {
		i, _ := slices.BinarySearch(bounds, n)
		cells[i]++
		sum += n
	}
	return (*snapshot.Histogram)(nil).Plus(cells, sum)
}

// fullContainer returns a living container of which everything is known.
func fullContainer(series uint64, namespace, pod, name string) snapshot.Container {
	id := strings.Repeat(fmt.Sprintf("%08x", series), 8)
	return snapshot.Container{
		Measures: everything(), Series: series, QoS: cgroupfs.Burstable,
		Path:     "/kubepods.slice/kubepods-burstable.slice/" + pod + "/cri-containerd-" + id + ".scope",
		CgroupID: series, ContainerID: id, Runtime: "containerd", Started: taken.Add(-time.Hour), Starts: 2,
		CPUPeakMicros: known(1_500_000), MemoryPeakBytes: known(4096), Processes: known(3),
		OOMScoreAdj: known(-997), OOMScore: known(666), OOMRank: known(1),
		ThrottleDurations: durations(60e6, 61e6, 90e6), StallsHigh: durations(2e9), StallsLimit: durations(500, 40_000, 20e9),
		Hint: fullHint(),
		Identity: &snapshot.ContainerIdentity{
			Namespace: namespace, Pod: pod, Name: name, PodUID: "uid-" + pod, Known: true,
			Image: "registry.example/" + name + ":1", Type: snapshot.AppContainer, WorkloadKind: "Deployment", Workload: "web",
			CPURequestMillis: known(250), MemoryRequestBytes: known(1 << 20), OOMScoreAdjExpected: known(999),
		},
	}
}

// fullHint has everything that a hint can have, and a reason twice.
func fullHint() *snapshot.Hint {
	q := func(v float64) snapshot.Quantity { return snapshot.Quantity{V: v, Known: true} }
	return &snapshot.Hint{
		CPURequestCores: q(0.21), CPULimitCores: q(0.89), MemoryRequestBytes: q(144 << 20), MemoryLimitBytes: q(272 << 20),
		CPUBurstSeconds: q(0.039), Policy: "burstable", Confidence: 0.75, Urgent: true, Published: taken.Add(-time.Hour),
		Reasons: []snapshot.Reason{
			{Code: snapshot.ReasonCPUDemand, Resource: snapshot.ResourceCPU, Text: "95% of the time it used at most 205m.",
				Evidence: []snapshot.Evidence{{Name: "p95_24h_cores", Value: 0.205}}},
			{Code: snapshot.ReasonCPUHeld, Resource: snapshot.ResourceCPU, Text: "Shown is the request."},
			{Code: snapshot.ReasonCPUHeld, Resource: snapshot.ResourceCPU, Text: "Shown is the limit."},
			{Code: snapshot.ReasonMemoryPeak, Resource: snapshot.ResourceMemory, Text: "The highest working set is 100Mi."},
		},
	}
}

func fullOOMs() snapshot.OOMSeries {
	s := snapshot.OOMSeries{Series: 1, Namespace: "shop", Pod: "web-1", Container: "app", QoS: cgroupfs.Burstable}
	for scope := range snapshot.NumOOMScopes {
		s.Kills[scope], s.Processes[scope] = uint64(scope)+1, 10*uint64(scope)+10
	}
	return s
}

func fullPod(series uint64, namespace, name string) snapshot.Pod {
	return snapshot.Pod{
		Measures: everything(), Series: series, QoS: cgroupfs.Burstable, CgroupID: series, Started: taken.Add(-time.Hour),
		Path:     "/kubepods.slice/kubepods-burstable.slice/" + name,
		Identity: &snapshot.PodIdentity{Namespace: namespace, Name: name, UID: "uid-" + name, Known: true, CPURequestMillis: known(1500), MemoryRequestBytes: known(3 << 30)},
	}
}

func fullSnapshot() snapshot.Snapshot {
	s := snapshot.Snapshot{
		Taken: taken, Sweeps: 7,
		Node: snapshot.Node{CPUs: known(4), MemoryBytes: known(8 << 30)},
		Kubepods: snapshot.Slice{Measures: everything(), Path: "/kubepods.slice", Exists: true,
			Started: taken.Add(-24 * time.Hour)},
		Pods:       []snapshot.Pod{fullPod(1, "shop", "web-1")},
		Containers: []snapshot.Container{fullContainer(1, "shop", "web-1", "app")},
		Sources:    []snapshot.Source{{Name: "cgroup_files", Up: true}, {Name: "procfs", Reason: "no permission"}},
		Self: snapshot.Self{OpenFiles: 100, OpenFilesLimit: 200, FilesOpenedAnew: 3, Watches: 4, WatchesFailed: 5,
			WatchOverflows: 6, IgnoredCgroups: 7, RetainedSeries: 8, RetainedDropped: 9, LateSweeps: 10, StateWrites: 11, StateWriteErrors: 12,
			OOMEventsMissed: 13, OOMUnplaced: 14, FlightContainers: 15, FlightRefused: 16},
		OOMs:  []snapshot.OOMSeries{fullOOMs()},
		Hints: snapshot.Hints{Histories: 17, Refused: 18, ClockSteps: 19, Evaluations: 20, Windows: 21, WindowsRefused: 22},
	}
	for i := range s.Node.Pressure {
		s.Node.Pressure[i] = snapshot.Pressure{Some: known(1_500_000), Full: known(500_000)}
	}
	for q := range s.Classes {
		s.Classes[q] = snapshot.Slice{Measures: everything(), Exists: true}
	}
	s.Classes[cgroupfs.Burstable].Path = "/kubepods.slice/kubepods-burstable.slice"
	s.Cgroups[cgroupfs.LevelPod] = 1
	return s
}

// storeOf returns a store whose newest snapshot is s.
func storeOf(s snapshot.Snapshot) *snapshot.Store {
	store := snapshot.NewStore()
	publish(store, s)
	return store
}

func publish(store *snapshot.Store, s snapshot.Snapshot) {
	store.Publish(func(into *snapshot.Snapshot) { *into = s })
}

// text returns the exposition of g in the text format.
func text(t testing.TB, g prometheus.TransactionalGatherer) string {
	t.Helper()
	mfs, done, err := g.Gather()
	defer done()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, mf := range mfs {
		if _, err := expfmt.MetricFamilyToText(&b, mf); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// samples returns the samples of an exposition: series as in the text format
// to value as it is printed.
func samples(t testing.TB, exposition string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for line := range strings.Lines(exposition) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if _, twice := found[line[:at]]; twice {
			t.Errorf("series %s is there twice", line[:at])
		}
		found[line[:at]] = line[at+1:]
	}
	return found
}

// copying lets tests use a transactional gatherer as a plain one.
func copying(g prometheus.TransactionalGatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		mfs, done, err := g.Gather()
		defer done()
		copies := make([]*dto.MetricFamily, len(mfs))
		for i, mf := range mfs {
			copies[i] = proto.CloneOf(mf)
		}
		return copies, err
	})
}

// golden compares got with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs, -update writes it anew (-want +got):\n%s", path, diff)
	}
}

// parse reads an exposition in the text format.
func parse(t testing.TB, exposition string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// recorded returns a snapshot of a recorded node, with pods and containers
// named after their place in the tree.
func recorded(t testing.TB, recording string) snapshot.Snapshot {
	t.Helper()
	rootDir, _ := fixturetree.Write(t, recording)
	tree, err := cgroupfs.NewTree(rootDir, cgroupfs.TreeConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	if _, err := tree.Refresh(); err != nil {
		t.Fatal(err)
	}
	reader, err := cgroupfs.NewFileReader(rootDir, cgroupfs.FileReaderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	s := snapshot.Snapshot{Taken: taken, Sweeps: 1, Node: snapshot.Node{CPUs: known(2), MemoryBytes: known(3048780 << 10)}}
	for _, c := range tree.Cgroups() {
		var reading cgroupfs.Reading
		if err := reader.Read(c, &reading); err != nil {
			t.Fatal(err)
		}
		addRecorded(&s, c, reading)
	}
	return s
}

func addRecorded(s *snapshot.Snapshot, c *cgroupfs.Cgroup, reading cgroupfs.Reading) {
	m := snapshot.Measures{Current: reading}
	for f := range cgroupfs.NumFields {
		if v, ok := reading.Get(f); ok && f.Info().Counter {
			m.Total.Set(f, v)
		}
	}
	if c.Level < cgroupfs.LevelPod {
		// What slices count themselves is always 0; the sampler sums.
		for _, f := range []cgroupfs.Field{cgroupfs.CPUPeriods, cgroupfs.CPUThrottledPeriods, cgroupfs.CPUThrottled,
			cgroupfs.CPUBurstPeriods, cgroupfs.CPUBurst} {
			m.Total.Unset(f)
		}
	}
	s.Cgroups[c.Level]++
	started := taken.Add(-time.Hour)
	switch c.Level {
	case cgroupfs.LevelKubepods:
		s.Kubepods = snapshot.Slice{Measures: m, Path: c.Path, Exists: true, Started: started}
	case cgroupfs.LevelQoS:
		s.Classes[c.QoS] = snapshot.Slice{Measures: m, Path: c.Path, Exists: true, Started: started}
	case cgroupfs.LevelPod:
		s.Pods = append(s.Pods, snapshot.Pod{
			Measures: m, Series: uint64(len(s.Pods)), QoS: c.QoS, Path: c.Path, CgroupID: c.ID, Started: started,
			Identity: &snapshot.PodIdentity{Namespace: "recorded", Name: "pod-" + c.PodUID[:8], UID: c.PodUID, Known: true},
		})
	case cgroupfs.LevelContainer:
		group, _ := reading.Get(cgroupfs.MemoryOOMGroup)
		s.Containers = append(s.Containers, snapshot.Container{
			Measures: m, Series: uint64(len(s.Containers)), QoS: c.QoS, Path: c.Path, CgroupID: c.ID, ContainerID: c.ContainerID,
			Runtime: c.Runtime, Sandbox: group == 0, Started: started, Starts: 1, Processes: known(1),
			Identity: &snapshot.ContainerIdentity{
				Namespace: "recorded", Pod: "pod-" + c.PodUID[:8], Name: "c-" + c.ContainerID[:6], PodUID: c.PodUID, Known: true,
				Image: "recorded.example/image:1",
			},
		})
	}
}
