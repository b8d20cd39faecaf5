// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/test/kubetree"
)

// livesOf returns the lives of a pod's containers that ended, and of those that
// run.
func livesOf(t *testing.T, a *Agent, pod *kubetree.Pod) (ended, running []exporter.Life) {
	t.Helper()
	// Without names a pod is its UID.
	body, err := a.Scrape("/api/v1/lives?limit=10000&pod=" + pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	var list exporter.LifeList
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	for _, l := range list.Lives {
		if l.End == snapshot.LifeRuns {
			running = append(running, l)
		} else {
			ended = append(ended, l)
		}
	}
	return ended, running
}

// checkLives compares the lives of a pod, in which n brief containers were and a
// keeper is, with the CPU time that they used by the pod's cgroup. Each container
// has a name of its own, as nobody tells names, so that only the bound on all bites.
func checkLives(t *testing.T, a *Agent, pod *kubetree.Pod, n int, want float64) {
	t.Helper()
	ended, running := livesOf(t, a, pod)
	if len(ended) != min(n, lives.Most) || len(running) != 1 {
		t.Fatalf("%d ended lives and %d that go on, want %d and the keeper's", len(ended), len(running), min(n, lives.Most))
	}
	ids := map[string]bool{}
	var usage, held float64
	for i := range ended {
		l := &ended[i]
		ids[l.ContainerID] = true
		lived := l.Ended.Sub(l.Started)
		if l.End != snapshot.LifeEnded || l.CPUSeconds == nil || *l.CPUSeconds <= 0 || !l.MemoryPeakBytes.Known || l.MemoryPeakBytes.N == 0 ||
			l.Started.IsZero() || lived < 0 || lived > time.Minute {
			t.Errorf("a life that cannot be: %+v", *l)
			continue
		}
		usage += *l.CPUSeconds
		if l.ThrottledSeconds != nil {
			held += *l.ThrottledSeconds
		}
	}
	if len(ids) != len(ended) {
		t.Errorf("%d lives are of %d containers", len(ended), len(ids))
	}
	if cpu := running[0].CPUSeconds; cpu != nil {
		usage += *cpu
	}
	t.Logf("lives: %.6f s of CPU, the pod's cgroup %.6f s (%+.4f %%); held for %.3f s", usage, want, 100*(usage-want)/want, held)
	if math.Abs(usage-want) > want/1000 {
		t.Errorf("CPU: the lives used %v s, the pod's cgroup says %v s", usage, want)
	}
}

// checkStorm wants the newest lives of containers whose ids begin alike, which
// without names are one container: as many as are kept of one. The last of them
// are told whole.
func checkStorm(t *testing.T, a *Agent, pod *kubetree.Pod, n int) {
	t.Helper()
	ended, _ := livesOf(t, a, pod)
	if len(ended) != lives.PerContainer {
		t.Fatalf("%d lives are kept, want %d", len(ended), lives.PerContainer)
	}
	told := map[string]snapshot.LifeEnd{}
	for i := range ended {
		told[ended[i].ContainerID] = ended[i].End
	}
	for i := range 10 {
		if id := fmt.Sprintf("%064x", n+i); told[id] != snapshot.LifeEnded {
			t.Errorf("the life of container %s: %q", id, told[id])
		}
	}
}
