// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// TestCostOfEvents logs what a cgroup's birth and death cost with the programs
// and without. The figures mean something where the clock counts instructions
// (vmtest -icount).
func TestCostOfEvents(t *testing.T) {
	long.Only(t, "measures, and finds no fault")
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "place", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(treetest.Root, "elsewhere.slice")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Remove(elsewhere); err != nil {
			t.Error(err)
		}
	}()
	const rounds, lives = 5, 100
	cost := map[string]time.Duration{}
	measure := func(name string, do func()) {
		began := time.Now()
		do()
		took := time.Since(began) / lives
		if best, ok := cost[name]; !ok || took < best {
			cost[name] = took
		}
	}
	var got recorder
	for range rounds {
		measure("off", func() { emptyContainers(t, pod.Path, lives) })
		measure("off, elsewhere", func() { emptyContainers(t, elsewhere, lives) })
		r, err := events.Open(events.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetKubepods(idOf(t, tree.Kubepods())); err != nil {
			t.Fatal(err)
		}
		measure("on", func() { emptyContainers(t, pod.Path, lives) })
		got = recorder{deaths: got.deaths[:0], births: got.births[:0]}
		measure("taking the events", func() { r.Drain(&got) })
		measure("on, elsewhere", func() { emptyContainers(t, elsewhere, lives) })
		measure("an empty ring", func() {
			for range lives {
				r.Drain(&got)
			}
		})
		if len(got.deaths) != lives {
			t.Errorf("%d deaths told, want %d", len(got.deaths), lives)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range sortedKeys(cost) {
		t.Logf("%-20s %8.1f µs for one cgroup", name, float64(cost[name])/1e3)
	}
}
