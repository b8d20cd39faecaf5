// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const restarts = 20

// workMicros is the CPU time that each incarnation uses at least. With its
// quota it is throttled three times for it, unless the host holds it up more
// than its quota does.
const workMicros = 60_000

// TestRestartsLoseNothing kills and restarts a container 20 times and, at
// random, the agent in between, and adds up what the files said before each
// death.
func TestRestartsLoseNothing(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	// The pod's own limit is wider: a container whose pod is throttled first
	// counts nothing.
	wide := kubetree.Resources{CPURequestMilli: 50, CPULimitMilli: 1000, MemoryRequestBytes: 16 << 20, MemoryLimitBytes: 64 << 20}
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "victim", Resources: &wide, Containers: []kubetree.ContainerSpec{{
		Name: "app", Resources: kubetree.Resources{CPURequestMilli: 50, CPULimitMilli: 200, MemoryRequestBytes: 16 << 20, MemoryLimitBytes: 32 << 20},
		Work: work.Cmd("spin cpu=60ms hold=1"),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, settings(t))
	random := rand.New(rand.NewPCG(1, 2))
	seen := Series{}
	totals := map[string]uint64{}
	agentKills := 0
	for i := range restarts {
		c := tree.Containers(pod)[0]
		last := settled(t, c.Path)
		nextSweep(t, a)
		notFallen(t, seen, metrics(t, a))
		for _, key := range []string{"usage_usec", "nr_periods", "nr_throttled", "throttled_usec"} {
			totals[key] += last[key]
		}
		if i%2 == 0 {
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			if err := a.Kill(); err != nil {
				t.Fatal(err)
			}
			agentKills++
		}
		if _, err := tree.RestartContainer(c); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // the container died while no agent was there
			a = start(t, a.Config)
			notFallen(t, seen, metrics(t, a))
		}
	}
	nextSweep(t, a)
	got := metrics(t, a)
	notFallen(t, seen, got)
	living := settled(t, tree.Containers(pod)[0].Path)
	nextSweep(t, a)
	got = metrics(t, a)

	all := got
	sum := func(family string) float64 {
		total := 0.0
		for name, v := range all {
			if strings.HasPrefix(name, family+"{") && strings.Contains(name, `pod="`+pod.UID+`"`) {
				total += v
			}
		}
		return total
	}
	if totals["nr_throttled"] == 0 {
		t.Error("no container was ever throttled: this test says nothing")
	}
	// An agent that looks while a container dies sees what its end costs as
	// well, which the files said nothing of when they were read before.
	for key, series := range map[string]struct {
		family string
		div    float64
		atEnd  float64 // what one end may cost at the most
	}{
		"nr_periods":     {"cpu_periods_total", 1, 5},
		"nr_throttled":   {"cpu_throttled_periods_total", 1, 5},
		"throttled_usec": {"cpu_throttled_seconds_total", 1e6, 1},
		"usage_usec":     {"cpu_usage_seconds_total", 1e6, 0.2},
	} {
		want := float64(totals[key]+living[key]) / series.div
		got := sum("slicewatch_container_" + series.family)
		// User and system mode are cut to whole microseconds each.
		if rounding := (restarts + 1) * 2e-6; got < want-rounding || got > want+restarts*series.atEnd {
			t.Errorf("%s of all incarnations is %v, the files said %v", series.family, got, want)
		}
		if key != "usage_usec" { // of which the classes have the sandbox's as well
			for _, level := range []string{`slicewatch_qos_` + series.family + `{qos="burstable"}`, `slicewatch_kubepods_` + series.family + `{}`} {
				if !near(all[level], got) {
					t.Errorf("%s is %v, its containers' sum is %v", level, all[level], got)
				}
			}
		}
	}
	if got := sum("slicewatch_container_starts_total"); got != restarts+1 {
		t.Errorf("%v starts, want %d", got, restarts+1)
	}
	t.Logf("%d restarts, the agent killed %d times; %d throttled periods, %.6f CPU seconds", restarts, agentKills, totals["nr_throttled"], float64(totals["usage_usec"])/1e6)
}

// near allows for the rounding of sums of floating-point numbers.
func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

// settled waits until a cgroup's cpu.stat stands still and returns it.
func settled(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	read := func() map[string]uint64 {
		file, err := truth.ReadFile(dir, "cpu.stat")
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]uint64{}
		for key := range file {
			values[key], _, _ = truth.Cgroup{"cpu.stat": file}.Value("cpu.stat", key)
		}
		return values
	}
	before := read()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		time.Sleep(300 * time.Millisecond)
		after := read()
		if after["usage_usec"] >= workMicros && fmt.Sprint(before) == fmt.Sprint(after) {
			return after
		}
		before = after
	}
	t.Fatalf("%s does not settle: %v", dir, before)
	return nil
}

// notFallen checks that no counter is smaller than it ever was, and notes them.
func notFallen(t *testing.T, seen, now Series) {
	t.Helper()
	for name, v := range now {
		if !strings.Contains(name, "_total{") {
			continue
		}
		if v < seen[name] {
			t.Errorf("%s fell from %v to %v", name, seen[name], v)
		}
		seen[name] = max(v, seen[name])
	}
	for name, v := range seen {
		if _, still := now[name]; !still && v > 0 {
			t.Errorf("%s is gone, it was %v", name, v)
		}
	}
}
