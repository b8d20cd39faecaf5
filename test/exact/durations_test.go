// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const (
	throttleDurations = "slicewatch_container_cpu_throttle_duration_seconds"
	stallDurations    = "slicewatch_container_memory_stall_duration_seconds"
)

// histograms returns a family's histograms by the values of two labels: the
// cause, if there is one, and the pod. Without names each incarnation has a
// series of its own: they are added up.
func histograms(t *testing.T, a *Agent, family string) map[string]*dto.Histogram {
	t.Helper()
	body, err := a.Scrape("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*dto.Histogram{}
	for _, m := range families[family].GetMetric() {
		key := ""
		for _, l := range m.GetLabel() {
			if l.GetName() == "pod" || l.GetName() == "cause" {
				key += " " + l.GetValue()
			}
		}
		found[key[1:]] = sum(found[key[1:]], m.GetHistogram())
	}
	return found
}

func sum(a, b *dto.Histogram) *dto.Histogram {
	if a == nil {
		return b
	}
	for i, bucket := range a.GetBucket() {
		*bucket.CumulativeCount += b.GetBucket()[i].GetCumulativeCount()
	}
	*a.SampleCount += b.GetSampleCount()
	*a.SampleSum += b.GetSampleSum()
	return a
}

// needPrograms ends the test where the agent says that something keeps it
// from measuring durations.
func needPrograms(t *testing.T, a *Agent) {
	t.Helper()
	up, err := a.Metrics("/metrics", "slicewatch_source_up")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"throttle", "stall"} {
		if up[labelled("slicewatch_source_up", map[string]string{"source": source})] != 1 {
			t.Fatalf("the source %s is down: %v", source, up)
		}
	}
}

// limitedPod makes a pod whose container alone is limited: throttled itself, never
// held up by its pod.
func limitedPod(t *testing.T, tree *kubetree.Tree, name, does string) *kubetree.Pod {
	t.Helper()
	wide := kubetree.Resources{CPURequestMilli: 50, CPULimitMilli: 4000, MemoryRequestBytes: 16 << 20, MemoryLimitBytes: 128 << 20}
	pod, err := tree.AddPod(kubetree.PodSpec{Name: name, Resources: &wide, Containers: []kubetree.ContainerSpec{{
		Name: "app", Work: work.Cmd(does),
		Resources: kubetree.Resources{CPURequestMilli: 50, CPULimitMilli: 100, MemoryRequestBytes: 16 << 20, MemoryLimitBytes: 64 << 20},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// between checks a histogram against what cpu.stat says of the same time,
// which adds up over CPUs what counts once here.
func between(t *testing.T, when string, h *dto.Histogram, throttledMicros uint64) {
	t.Helper()
	most := float64(throttledMicros)/1e6 + 1e-6
	least := float64(throttledMicros) / 1e6 / float64(runtime.NumCPU())
	if sum := h.GetSampleSum(); h.GetSampleCount() == 0 || sum > most || sum < least-1e-6 {
		t.Errorf("%s: %d stretches of %v s in all, cpu.stat says %v s", when, h.GetSampleCount(), sum, most)
	}
}

// TestThrottleDurations follows a throttled container through its restart and
// the agent's.
func TestThrottleDurations(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	a := start(t, settings(t))
	needPrograms(t, a)
	pod := limitedPod(t, tree, "throttled", "spin threads=2 cpu=60ms hold=1")
	first := settled(t, tree.Containers(pod)[0].Path)["throttled_usec"]
	told := func() *dto.Histogram {
		// Two sweeps until it is sure to be over. Waiting for them by scrapes would
		// slow them down.
		time.Sleep(3 * time.Second)
		nextSweep(t, a)
		return histograms(t, a, throttleDurations)[pod.UID]
	}
	before := told()
	between(t, "at first", before, first)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	a = start(t, a.Config)
	if after := told(); after.GetSampleCount() != before.GetSampleCount() || after.GetSampleSum() != before.GetSampleSum() {
		t.Errorf("after a restart of the agent %d, %v s; before %d, %v s", after.GetSampleCount(), after.GetSampleSum(), before.GetSampleCount(), before.GetSampleSum())
	}
	if _, err := tree.RestartContainer(tree.Containers(pod)[0]); err != nil {
		t.Fatal(err)
	}
	second := settled(t, tree.Containers(pod)[0].Path)["throttled_usec"]
	last := told()
	// The end of the first one may have cost a little more.
	between(t, "after a restart of the container", &dto.Histogram{
		SampleCount: new(last.GetSampleCount() - before.GetSampleCount()), SampleSum: new(last.GetSampleSum() - before.GetSampleSum()),
	}, second)
	if buckets := last.GetBucket(); buckets[len(buckets)-1].GetCumulativeCount() != last.GetSampleCount() {
		t.Errorf("buckets %v of %d", buckets, last.GetSampleCount())
	}
	t.Logf("throttled for %d and %d us; %d stretches of %v s", first, second, last.GetSampleCount(), last.GetSampleSum())
}

// TestThrottledToDeath kills containers while they are held.
func TestThrottledToDeath(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	a := start(t, settings(t))
	needPrograms(t, a)
	pods := map[string]*kubetree.Pod{}
	for i := range 4 {
		pod := limitedPod(t, tree, "short"+strconv.Itoa(i), "spin threads=2")
		pods[pod.UID] = pod
	}
	time.Sleep(1500 * time.Millisecond)
	seen := map[string]uint64{}
	for uid, pod := range pods {
		seen[uid] = number(t, tree.Containers(pod)[0].Path, "cpu.stat", "throttled_usec")
		if err := tree.RemovePod(pod); err != nil {
			t.Fatal(err)
		}
	}
	nextSweep(t, a)
	nextSweep(t, a)
	found := histograms(t, a, throttleDurations)
	for uid := range pods {
		h := found[uid]
		// What was held when the file was read is not in it, so there is no most.
		if least := float64(seen[uid]) / 1e6 / float64(runtime.NumCPU()); seen[uid] > 0 && h.GetSampleSum() < least {
			t.Errorf("a container that was throttled for %d us before its end: %d stretches of %v s", seen[uid], h.GetSampleCount(), h.GetSampleSum())
		}
	}
	t.Logf("throttled before their end, us: %v", seen)
}

func number(t *testing.T, dir, file, key string) uint64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if words := bytes.Fields(line); len(words) == 2 && string(words[0]) == key {
			n, err := strconv.ParseUint(string(words[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s/%s", key, dir, file)
	return 0
}

func TestStallDurations(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	a := start(t, settings(t))
	needPrograms(t, a)
	high, limit := limitedPod(t, tree, "high", "over bytes=40Mi"), limitedPod(t, tree, "limit", "over bytes=40Mi")
	for pod, file := range map[*kubetree.Pod]string{high: "memory.high", limit: "memory.max"} {
		if err := os.WriteFile(filepath.Join(tree.Containers(pod)[0].Path, file), []byte("24M"), 0); err != nil {
			t.Fatal(err)
		}
	}
	wanted := map[string]bool{"high " + high.UID: true, "limit " + limit.UID: true}
	var found map[string]*dto.Histogram
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline) && len(found) < len(wanted); nextSweep(t, a) {
		found = histograms(t, a, stallDurations)
	}
	for key, h := range found {
		if !wanted[key] {
			t.Errorf("a stall nobody was meant to have: %s: %v", key, h)
		}
		delete(wanted, key)
		t.Logf("%s: %d of %v s", key, h.GetSampleCount(), h.GetSampleSum())
	}
	if len(wanted) > 0 {
		t.Errorf("no stalls of %v", wanted)
	}
}
