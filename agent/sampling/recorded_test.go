// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"log/slog"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/procfs"
	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/sampling/reading"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// onRecording returns a sampler with the real readers on a recorded tree.
func onRecording(t testing.TB, name string) *agent {
	t.Helper()
	root, proc := fixturetree.Write(t, name)
	tree, err := cgroupfs.NewTree(root, cgroupfs.TreeConfig{Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := cgroupfs.NewFileReader(root, cgroupfs.FileReaderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	processes, err := procfs.Open(proc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range []interface{ Close() error }{reader, tree, processes} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	w := newWorld()
	a := &agent{
		view:      &view{w: w, made: map[uint64]*snapshot.ContainerIdentity{}, pods: map[string]*snapshot.PodIdentity{}},
		telemetry: telemetry{errors: map[string]int{}, lost: map[string]int{}},
	}
	a.Sampler = New(Config{
		Interval: time.Second, Retention: time.Minute, MaxEnded: 100, BootID: bootID, BootTime: w.now.Add(-time.Hour), Root: root,
		Tree: tree, Reader: reading.New(reading.Config{Files: reader, Log: slog.New(slog.DiscardHandler)}), Identities: a.view, Processes: processes, Node: node{}, Book: ledger.NewBook(100), Lives: lives.New(bootID),
		JournalReason: "none", Telemetry: a.telemetry, Store: snapshot.NewStore(), Logger: slog.New(slog.DiscardHandler),
		Kills: oom.New(oom.Config{Logger: slog.New(slog.DiscardHandler)}), Flight: flight.New(flight.Config{Moments: 60, Containers: 100, Retention: time.Minute}),
	})
	return a
}

func TestRecordedTrees(t *testing.T) {
	for _, name := range fixturetree.Names() {
		t.Run(name, func(t *testing.T) {
			a := onRecording(t, name)
			s := a.step()
			sandboxes := 0
			for _, c := range s.Containers {
				if c.Sandbox {
					sandboxes++
				}
			}
			// One pod of each kind; the sandboxes are told by their processes.
			if len(s.Pods) != 8 || sandboxes != 8 || len(s.Containers)-sandboxes != 11 {
				t.Errorf("%d pods, %d sandboxes, %d other containers; want 8, 8, 11", len(s.Pods), sandboxes, len(s.Containers)-sandboxes)
			}
			if len(a.telemetry.errors) != 0 {
				t.Errorf("errors: %v", a.telemetry.errors)
			}
		})
	}
}

// A sweep in steady state allocates a few things for the node, none for each
// cgroup.
func TestSweepAllocatesNothingPerCgroup(t *testing.T) {
	a := onRecording(t, fixturetree.SystemdSteady)
	for range 3 {
		a.step()
	}
	cgroups := len(a.order)
	allocs := testing.AllocsPerRun(50, func() {
		a.view.w.now = a.view.w.now.Add(time.Second)
		a.sweep(a.view.w.now)
	})
	// Errors of the made-up node's pressure, and the channel that Publish makes.
	if allocs > 10 {
		t.Errorf("%v allocations in a sweep of %d cgroups", allocs, cgroups)
	}
}

func BenchmarkSweep(b *testing.B) {
	a := onRecording(b, fixturetree.SystemdSteady)
	b.ReportAllocs()
	for b.Loop() {
		a.view.w.now = a.view.w.now.Add(time.Second)
		a.sweep(a.view.w.now)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(a.order)), "us/cgroup")
}
