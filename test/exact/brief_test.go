// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// TestBriefContainersCount runs containers that live for 20 to 500 ms, most of
// them between two sweeps. What the agent says they used is what the pod's
// cgroup says, within a thousandth, each start counts, and each life is told with
// what it used itself. So it is for a second agent on the same node.
func TestBriefContainersCount(t *testing.T) {
	n := 60
	if long.Asked() {
		n = 1000
	}
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "crashing", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	agents := []*Agent{startPatient(t), startPatient(t)}
	for _, a := range agents {
		needEvents(t, a)
		nextSweep(t, a)
	}
	runBrief(t, tree, pod, n)
	for _, a := range agents {
		if checkBrief(t, a, pod, n) == 0 {
			t.Error("no throttled period is counted")
		}
	}
}

// startPatient starts an agent that exports what ended until all of it has been
// looked at: without names each container has a series of its own.
func startPatient(t *testing.T) *Agent {
	t.Helper()
	cfg := settings(t)
	cfg.Flags = append(cfg.Flags, "--retention=1h")
	return start(t, cfg)
}

// The same while the node is busy, with two more containers at once than it has
// CPUs for.
func TestBriefContainersCountUnderLoad(t *testing.T) {
	long.Only(t, "takes many minutes")
	const n = 300
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "crashing", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := startPatient(t)
	needEvents(t, a)
	nextSweep(t, a)
	if _, err := tree.AddPod(kubetree.PodSpec{Name: "busy", Containers: []kubetree.ContainerSpec{
		{Name: "a", Work: work.Cmd("spin threads=2"), Resources: kubetree.Resources{CPURequestMilli: 500}},
		{Name: "b", Work: work.Cmd("burst threads=2 work=20ms period=50ms"), Resources: kubetree.Resources{CPURequestMilli: 500}},
	}}); err != nil {
		t.Fatal(err)
	}
	runBrief(t, tree, pod, n)
	checkBrief(t, a, pod, n)
}

// TestWhatTheRingHasNoRoomForIsCounted stops the agent while more containers
// come and go than the ring has room for. What it did not get it counts, and of
// what it got any part of, the start.
func TestWhatTheRingHasNoRoomForIsCounted(t *testing.T) {
	const n = 1500
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "storm", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, settings(t))
	needEvents(t, a)
	nextSweep(t, a)
	live := func(from, n int) {
		for i := range n {
			dir := filepath.Join(pod.Path, fmt.Sprintf("cri-containerd-%064x.scope", from+i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := unix.Kill(a.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	live(0, n)
	if err := unix.Kill(a.PID(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// A birth without its death is taken for a life after three sweeps.
	for range 5 {
		nextSweep(t, a)
	}
	starts, lost := countStarts(t, a, pod)
	told := 2*n - lost
	t.Logf("of %d containers, %v events were lost, %v starts counted", n, lost, starts)
	// Births and deaths take turns, and once the ring is full it stays so.
	if lost == 0 || told == 0 || starts != math.Ceil(told/2) {
		t.Errorf("%v starts, want half of %v, rounded up; %v events lost", starts, told, lost)
	}
	live(n, 10)
	nextSweep(t, a)
	again, lostAgain := countStarts(t, a, pod)
	if again != starts+10 || lostAgain != lost {
		t.Errorf("after that 10 containers gave %v starts and %v lost events", again-starts, lostAgain-lost)
	}
	checkStorm(t, a, pod, n)
}

// countStarts returns the starts in a pod, the keeper's left out, and the lost
// births and deaths.
func countStarts(t *testing.T, a *Agent, pod *kubetree.Pod) (starts, lost float64) {
	t.Helper()
	got, err := a.Metrics("/metrics", "slicewatch_")
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range got {
		if strings.HasPrefix(name, "slicewatch_container_starts_total{") && strings.Contains(name, pod.UID) {
			starts += v
		}
	}
	return starts - 1, got[labelled("slicewatch_events_lost_total", map[string]string{"source": "lifecycle"})]
}

func needEvents(t *testing.T, a *Agent) {
	t.Helper()
	up, err := a.Metrics("/metrics", "slicewatch_source_up")
	if err != nil {
		t.Fatal(err)
	}
	if up[labelled("slicewatch_source_up", map[string]string{"source": "lifecycle"})] != 1 {
		t.Fatalf("no source lifecycle: %v\n%s", up, a.Log())
	}
}

// runBrief starts and removes n containers, some of them throttled.
func runBrief(t *testing.T, tree *kubetree.Tree, pod *kubetree.Pod, n int) {
	t.Helper()
	began := time.Now()
	var longest time.Duration
	for i := range n {
		spec := kubetree.ContainerSpec{Name: "brief", Work: work.Cmd(fmt.Sprintf("spin cpu=%dms", 1+i%40))}
		if i%5 == 0 {
			spec.CPULimitMilli = 300
		}
		c, err := tree.StartContainer(pod, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Wait(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := tree.RemoveContainer(c); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(c.Started))
	}
	t.Logf("%d containers in %v, none lived longer than %v", n, time.Since(began).Round(time.Second), longest.Round(time.Millisecond))
}

// checkBrief compares the containers of a pod, all but the keeper, with what
// the pod's cgroup says without the sandbox. It returns the throttled periods:
// on a busy node none may get as far as its quota.
func checkBrief(t *testing.T, a *Agent, pod *kubetree.Pod, n int) (throttled float64) {
	t.Helper()
	time.Sleep(time.Second) // deaths that the tree showed first
	nextSweep(t, a)
	got, err := a.Metrics("/metrics", "slicewatch_")
	if err != nil {
		t.Fatal(err)
	}
	var usage, starts float64
	for name, v := range got {
		switch {
		case !strings.Contains(name, pod.UID) || !strings.HasPrefix(name, "slicewatch_container_"):
		case strings.HasPrefix(name, "slicewatch_container_cpu_usage_seconds_total{"):
			usage += v
		case strings.HasPrefix(name, "slicewatch_container_starts_total{"):
			starts += v
		case strings.HasPrefix(name, "slicewatch_container_cpu_throttled_periods_total{"):
			throttled += v
		}
	}
	want := usageOf(t, pod.Path) - usageOf(t, pod.Sandbox.Path)
	t.Logf("CPU: exported %.6f s, the pod's cgroup %.6f s (%+.4f %%); %v throttled periods; %v starts", usage, want, 100*(usage-want)/want, throttled, starts)
	if math.Abs(usage-want) > want/1000 {
		t.Errorf("CPU: exported %v s, the pod's cgroup says %v s", usage, want)
	}
	if starts != float64(n+1) {
		t.Errorf("%v starts, want %d and the keeper's", starts, n)
	}
	for _, source := range []string{"lifecycle", "oom"} {
		if lost := got[labelled("slicewatch_events_lost_total", map[string]string{"source": source})]; lost > 0 {
			t.Errorf("%v events of source %s were lost", lost, source)
		}
	}
	checkLives(t, a, pod, n, want)
	return throttled
}

func usageOf(t *testing.T, dir string) float64 {
	t.Helper()
	f, err := truth.ReadFile(dir, "cpu.stat")
	if err != nil {
		t.Fatal(err)
	}
	n, _, ok := truth.Cgroup{"cpu.stat": f}.Value("cpu.stat", "usage_usec")
	if !ok {
		t.Fatalf("no usage_usec in cpu.stat of %s", dir)
	}
	return float64(n) / 1e6
}
