// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// TestCostOfEvents logs what a cgroup's birth and death and a task's life cost
// with the programs and without, and what each program takes. The figures mean something where the clock counts instructions
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
	const rounds, lives, threads = 5, 300, 3000
	cost := map[string]time.Duration{}
	measure := func(name string, n time.Duration, do func()) {
		began := time.Now()
		do()
		took := time.Since(began) / n
		if best, ok := cost[name]; !ok || took < best {
			cost[name] = took
		}
	}
	var got recorder
	for range rounds {
		measure("off", lives, func() { emptyContainers(t, pod.Path, lives) })
		measure("off, elsewhere", lives, func() { emptyContainers(t, elsewhere, lives) })
		measure("off, a task", threads, func() { tasks(threads) })
		r, err := events.Open(events.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetKubepods(idOf(t, tree.Kubepods())); err != nil {
			t.Fatal(err)
		}
		measure("on", lives, func() { emptyContainers(t, pod.Path, lives) })
		got = recorder{deaths: got.deaths[:0], births: got.births[:0]}
		measure("taking the events", lives, func() { r.Drain(&got) })
		measure("on, elsewhere", lives, func() { emptyContainers(t, elsewhere, lives) })
		measure("on, a task", threads, func() { tasks(threads) })
		measure("an empty ring", lives, func() {
			for range lives {
				r.Drain(&got)
			}
		})
		if len(got.deaths) != lives {
			t.Errorf("%d deaths told, want %d", len(got.deaths), lives)
		}
		logRuns(t, func() {
			emptyContainers(t, pod.Path, lives)
			tasks(lives)
		})
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range sortedKeys(cost) {
		t.Logf("%-20s %8.1f µs for one", name, float64(cost[name])/1e3)
	}
}

// tasks lets n threads come and go.
func tasks(n int) {
	for range n {
		ended := make(chan struct{})
		go func() {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			close(ended)
		}()
		<-ended
	}
}

// logRuns logs what each program that ran meanwhile took.
func logRuns(t *testing.T, do func()) {
	t.Helper()
	counting, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	do()
	time.Sleep(100 * time.Millisecond) // the kernel lets go of tasks later
	if err := counting.Close(); err != nil {
		t.Error(err)
	}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it is on its way out
		}
		info, errInfo := program.Info()
		stats, errStats := program.Stats()
		if err := errors.Join(errInfo, errStats, program.Close()); err != nil {
			t.Fatal(err)
		}
		if stats.RunCount > 0 {
			t.Logf("%-16s %6d runs of %5.0f ns", info.Name, stats.RunCount, float64(stats.Runtime)/float64(stats.RunCount))
		}
	}
}
