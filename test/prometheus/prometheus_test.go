// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree/truth"
)

const (
	// wantedEnv says that tests may take minutes and a virtual machine.
	wantedEnv = "SLICEWATCH_VM_TESTS"
	// liveTime is how long the pods work between the two still moments.
	liveTime = time.Minute
)

func needs(t *testing.T) {
	t.Helper()
	if os.Getenv(wantedEnv) == "" {
		t.Skipf("takes minutes and a virtual machine: set %s=1", wantedEnv)
	}
	for program, debianPackage := range map[string]string{
		"qemu-system-aarch64": "qemu-system-arm", "prometheus": "prometheus", "promtool": "prometheus",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: apt-get install %s", program, debianPackage)
		}
	}
}

// TestQueries lets Prometheus scrape an agent whose pods work for a minute
// between two moments in which they are frozen. A sample that was scraped in
// such a moment can only be what the files say then, so that the queries' values
// follow from the files without any tolerance for timing.
func TestQueries(t *testing.T) {
	needs(t)
	g := startGuest(t)
	g.awaitMemory(t, "full", 56<<20)
	g.awaitMemory(t, "falling", 40<<20)
	first := g.freeze(t)
	g.sweeps(t)
	servers := []*server{
		startServer(t, "openmetrics", g.agent),
		startServer(t, "protobuf", g.agent, "--enable-feature=native-histograms"),
	}
	from := make([]float64, len(servers))
	for i, s := range servers {
		from[i] = s.sampleAfter(t, time.Now())
	}
	g.write(t, g.pod(t, "falling").Containers[0]+"/cgroup.kill", "1")
	g.thaw(t)
	time.Sleep(liveTime)
	last := g.freeze(t)
	g.sweeps(t)
	frozen := time.Now()
	for i, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			w := window{pods: g.pods, first: first, last: last, from: from[i], to: s.sampleAfter(t, frozen)}
			t.Logf("%.3f seconds between the two scrapes", w.seconds())
			t.Run("throttled seconds per period", func(t *testing.T) { w.checkThrottling(t, s) })
			t.Run("CPU use in percent of the limit", func(t *testing.T) { w.checkCPU(t, s) })
			t.Run("working set in percent of the limit", func(t *testing.T) { w.checkWorkingSet(t, s) })
			t.Run("highest working set", func(t *testing.T) { w.checkHighest(t, s, g) })
			t.Run("scrapes", s.checkScrapes)
		})
	}
	t.Run("native histogram", func(t *testing.T) { checkNativeHistogram(t, g, servers[1]) })
	t.Run("promtool check metrics", func(t *testing.T) { checkLint(t, g) })
}

func (g *guest) pod(t *testing.T, name string) pod {
	t.Helper()
	for _, p := range g.pods {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no pod %q", name)
	return pod{}
}

// window is what lies between the two still moments.
type window struct {
	pods        []pod
	first, last reading
	from, to    float64 // when Prometheus scraped, in its own time
}

// millis is Prometheus's own unit of time.
func (w window) millis() int { return int(math.Round((w.to - w.from) * 1000)) }

func (w window) seconds() float64 { return float64(w.millis()) / 1000 }

// selected is the range that has the two scrapes and those between. Before
// Prometheus 3 a range includes both its ends, from then on only the later one.
func (w window) selected() string { return fmt.Sprintf("[%dms]", w.millis()+1) }

// matcher selects the pods, as pod=~"imprun-server.*" does where there are names.
func (w window) matcher() string {
	var uids []string
	for _, p := range w.pods {
		uids = append(uids, p.UID)
	}
	return `pod=~"` + strings.Join(uids, "|") + `"`
}

// grown is by how much a number of a file grew.
func (w window) grown(t *testing.T, id, file, key string) float64 {
	t.Helper()
	return number(t, w.last[id], file, key) - number(t, w.first[id], file, key)
}

// rate is what rate() makes of a number of a file over the selected range. That
// begins a millisecond before the first scrape, and Prometheus carries the growth
// on into it, but never below 0 (promql/functions.go, extrapolatedRate).
func (w window) rate(t *testing.T, id, file, key string) float64 {
	t.Helper()
	const before = 0.001
	first, grown := number(t, w.first[id], file, key), w.grown(t, id, file, key)
	if grown == 0 {
		return 0
	}
	covered := w.seconds() + min(before, w.seconds()*first/grown)
	return grown * covered / w.seconds() / (w.seconds() + before)
}

func number(t *testing.T, c truth.Cgroup, file, key string) float64 {
	t.Helper()
	v, isMax, ok := c.Value(file, key)
	if !ok || isMax {
		t.Fatalf("%s has no number %q: %v", file, key, c[file])
	}
	return float64(v)
}

func hasQuota(c truth.Cgroup) bool {
	_, isMax, ok := c.Value("cpu.max", "quota")
	return ok && !isMax
}

// rounding is what sums and quotients of the same numbers may differ by, done in
// another order. Nothing here depends on when something was scraped.
const rounding = 1e-9

// compare holds what a query gave, by id or pod, against what it should give.
func compare(t *testing.T, want, got map[string]float64) {
	t.Helper()
	if len(want) == 0 {
		t.Error("the files give no value to compare with")
	}
	for key, w := range want {
		g, ok := got[key]
		switch {
		case !ok:
			t.Errorf("%s: no value, the files give %v", key, w)
		case math.IsNaN(w) && math.IsNaN(g), w == g:
		case !(math.Abs(g-w) <= rounding*math.Abs(w)):
			t.Errorf("%s: %v, the files give %v", key, g, w)
		}
	}
	for key, g := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %v, the files give nothing", key, g)
		}
	}
}

func (w window) checkThrottling(t *testing.T, s *server) {
	m, r := w.matcher(), w.selected()
	got := s.vector(t, "rate(container_cpu_cfs_throttled_seconds_total{"+m+"}"+r+") / rate(container_cpu_cfs_periods_total{"+m+"}"+r+")", "id", w.to)
	want := map[string]float64{}
	throttled := 0
	for id, c := range w.last {
		if !hasQuota(c) {
			continue
		}
		throttledSeconds := w.rate(t, id, "cpu.stat", "throttled_usec") / 1e6
		want[id] = throttledSeconds / w.rate(t, id, "cpu.stat", "nr_periods")
		if throttledSeconds > 0 {
			throttled++
		}
	}
	compare(t, want, got)
	if throttled < 3 {
		t.Errorf("%d cgroups were throttled: the pods do not do what they should", throttled)
	}
	t.Logf("%d cgroups with a quota, %d throttled", len(want), throttled)
}

func (w window) checkCPU(t *testing.T, s *server) {
	// Without Kubernetes there are no namespaces.
	const of = `{namespace="",pod!=""}`
	got := s.vector(t, "sum(rate(container_cpu_usage_seconds_total"+of+w.selected()+")) by (pod)"+
		" / sum(container_spec_cpu_quota"+of+"/container_spec_cpu_period"+of+") by (pod) * 100", "pod", w.to)
	want := map[string]float64{}
	for _, p := range w.pods {
		used, limit := 0.0, 0.0
		for _, dir := range append([]string{p.Path, p.Sandbox}, p.Containers...) {
			id := strings.TrimPrefix(dir, cgroupRoot)
			used += w.rate(t, id, "cpu.stat", "usage_usec") / 1e6
			if c := w.last[id]; hasQuota(c) {
				limit += number(t, c, "cpu.max", "quota") / number(t, c, "cpu.max", "period")
			}
		}
		if limit > 0 {
			want[p.UID] = used / limit * 100
		}
	}
	compare(t, want, got)
	t.Logf("percent of the limits: %v", got)
}

func workingSet(t *testing.T, c truth.Cgroup) float64 {
	t.Helper()
	return max(0, number(t, c, "memory.current", "")-number(t, c, "memory.stat", "inactive_file"))
}

func (w window) checkWorkingSet(t *testing.T, s *server) {
	const of = `{namespace="",pod!=""}`
	for at, r := range map[float64]reading{w.from: w.first, w.to: w.last} {
		got := s.vector(t, "container_memory_working_set_bytes"+of+" / container_spec_memory_limit_bytes"+of+" * 100", "id", at)
		want := map[string]float64{}
		for id, c := range r {
			// cAdvisor's limit is 0 where there is none.
			limit, _, _ := c.Value("memory.max", "")
			want[id] = workingSet(t, c) / float64(limit) * 100
		}
		compare(t, want, got)
	}
}

// checkHighest asks for the highest of a week. That of the pod whose process
// was killed at the first still moment is known; that of the others is at least
// what the files said in the two moments, and at most the kernel's own peak.
func (w window) checkHighest(t *testing.T, s *server, g *guest) {
	got := s.vector(t, "max_over_time(container_memory_working_set_bytes{"+w.matcher()+"}[7d])", "id", w.to)
	falling := strings.TrimPrefix(g.pod(t, "falling").Containers[0], cgroupRoot)
	before, after := workingSet(t, w.first[falling]), workingSet(t, w.last[falling])
	if before < 40<<20 || after > before/2 {
		t.Errorf("the falling pod fell from %v to %v", before, after)
	}
	compare(t, map[string]float64{falling: before}, map[string]float64{falling: got[falling]})
	if len(got) != len(w.last) {
		t.Errorf("%d series, there are %d cgroups", len(got), len(w.last))
	}
	for id, highest := range got {
		least := max(workingSet(t, w.first[id]), workingSet(t, w.last[id]))
		text, err := g.machine.ReadFile(t.Context(), cgroupRoot+id+"/memory.peak")
		if err != nil {
			t.Fatal(err)
		}
		peak, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			t.Fatal(err)
		}
		if highest < least || highest > peak {
			t.Errorf("%s: %v, the files gave %v and a peak of %v", id, highest, least, peak)
		}
	}
}

// checkNativeHistogram holds that the sweeps arrive as a native histogram and
// that it counts as many as the text says before and after.
func checkNativeHistogram(t *testing.T, g *guest, s *server) {
	const name, reader = "slicewatch_sweep_duration_seconds", "bpf"
	count := func() float64 {
		v, err := strconv.ParseFloat(g.agentSays(t, name+`_count{reader="`+reader+`"}`), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := count()
	at := s.sampleAfter(t, time.Now())
	for _, up := range s.query(t, `up{job="agent"}[5m]`, 0) {
		at = max(at, up.Values[len(up.Values)-1].at)
	}
	results := s.query(t, name, at)
	if len(results) != 1 || results[0].Histogram == nil {
		t.Fatalf("%s is no native histogram: %+v", name, results)
	}
	counted := s.vector(t, "histogram_count("+name+")", "reader", at)[reader]
	if after := count(); counted < before || counted > after {
		t.Errorf("the native histogram counts %v sweeps, the text %v before and %v after", counted, before, after)
	}
	if classic := s.query(t, name+"_bucket", at); len(classic) != 0 {
		t.Errorf("there are %d classic series as well", len(classic))
	}
	median := s.vector(t, "histogram_quantile(0.5, "+name+")", "reader", at)[reader]
	if !(median > 0 && median < 60) {
		t.Errorf("half of the sweeps took less than %v seconds", median)
	}
	t.Logf("%v sweeps, median %.3fs (emulated)", counted, median)
}

// checkLint runs promtool's linter over the agent's own names. Those of
// /metrics/cadvisor are not ours to choose.
func checkLint(t *testing.T, g *guest) {
	response, err := http.Get("http://" + g.agent + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = response.Body
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
