// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// TestKills plays what happens on a node and wants the same counts from the
// files alone, from events and files, and from events of which none arrived.
func TestKills(t *testing.T) {
	type counts map[string]string
	tests := []struct {
		name string
		play func(w *world, a, b *cgroupfs.Cgroup) [][]Kill
		want counts
		// files is what the files alone can tell, where that is less.
		files counts
	}{
		{"nothing", func(*world, *cgroupfs.Cgroup, *cgroupfs.Cgroup) [][]Kill { return nil }, counts{}, nil},
		{"one process at the container's limit", func(w *world, _, b *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(b, b, 1)}
		}, counts{"p/b container": "1/1"}, nil},
		{"a group of three at the pod's limit", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(a.Parent, a, 3)}
		}, counts{"p/a pod": "1/3"}, nil},
		{"a group, and its cgroup goes at once", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			defer w.remove(a)
			return [][]Kill{w.oom(a.Parent, a, 2)}
		}, counts{"p/a pod": "1/2"}, nil},
		{"at the container's limit, and its cgroup goes at once", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			defer w.remove(a)
			return [][]Kill{w.oom(a, a, 2)}
		}, counts{"p/a container": "1/2"}, nil},
		{"at the class's limit", func(w *world, _, b *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(w.burstable, b, 1)}
		}, counts{"p/b qos": "1/1"}, nil},
		{"at all pods' limit, and the whole pod goes", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			defer w.remove(a.Parent)
			return [][]Kill{w.oom(w.kubepods, a, 4)}
		}, counts{"p/a kubepods": "1/4"}, nil},
		{"at the pod's limit, and the whole pod goes", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			defer w.remove(a.Parent)
			return [][]Kill{w.oom(a.Parent, a, 1)}
		}, counts{"p/a pod": "1/1"}, counts{"p/a unknown": "1/1"}},
		{"the node's memory", func(w *world, a, _ *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(nil, a, 1)}
		}, counts{"p/a node": "1/1"}, nil},
		{"a child killed again and again", func(w *world, _, b *cgroupfs.Cgroup) [][]Kill {
			var all [][]Kill
			for range 50 {
				all = append(all, w.oom(b, b, 1))
			}
			return all
		}, counts{"p/b container": "50/50"}, nil},
		{"two containers by two limits", func(w *world, a, b *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(a.Parent, a, 2), w.oom(b, b, 1)}
		}, counts{"p/a pod": "1/2", "p/b container": "1/1"}, nil},
		{"one container by two limits", func(w *world, a, b *cgroupfs.Cgroup) [][]Kill {
			return [][]Kill{w.oom(b.Parent, b, 1), w.oom(b, b, 1)}
		}, counts{"p/b pod": "1/1", "p/b container": "1/1"}, nil},
		{"a limit that was hit without a kill", func(w *world, a, b *cgroupfs.Cgroup) [][]Kill {
			w.event(a, cgroupfs.MemoryLocalEventOOM, cgroupfs.MemoryEventOOM)
			return nil
		}, counts{}, nil},
	}
	modes := map[string]struct{ up, arrive, late bool }{
		"files": {}, "events": {up: true, arrive: true}, "late events": {up: true, arrive: true, late: true}, "lost events": {up: true},
	}
	for _, test := range tests {
		for mode, how := range modes {
			t.Run(test.name+" by "+mode, func(t *testing.T) {
				w := newWorld(t)
				pod := w.pod("p")
				a, b := w.container(pod, "a", true), w.container(pod, "b", false)
				w.readings[a.ID].Set(cgroupfs.MemoryCurrent, 20<<20)
				w.start().SetEvents(how.up)
				w.sweeps(2)
				events := test.play(w, a, b)
				if how.late {
					w.sweep()
				}
				for _, kill := range events {
					if how.arrive {
						w.send(kill)
					}
				}
				w.sweeps(12)
				want := test.want
				if !how.arrive && test.files != nil {
					want = test.files
				}
				if diff := cmp.Diff(map[string]string(want), w.keeper.counted()); diff != "" {
					t.Errorf("kills/processes (-want +got):\n%s", diff)
				}
				missed := w.keeper.missed > 0
				if lost := how.up && !how.arrive && len(want) > 0; missed != lost {
					t.Errorf("%d processes counted as missed, want some: %t", w.keeper.missed, lost)
				}
			})
		}
	}
}

// BenchmarkSweep is a node of 110 pods with 330 containers on which nothing
// happens.
func BenchmarkSweep(b *testing.B) {
	w := newWorld(b)
	for i := range 110 {
		pod := w.pod(fmt.Sprint("p", i))
		for j := range 3 {
			w.container(pod, fmt.Sprint("c", i, "-", j), true)
		}
	}
	w.start()
	w.sweeps(3)
	reading := *w.readings[w.burstable.ID]
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range w.cgroups {
			w.keeper.Observe(c, &reading, w.now)
			if c.Level == cgroupfs.LevelContainer {
				w.keeper.Identify(c, w.names[c.ContainerID])
			}
		}
		w.keeper.Finish(w.now)
	}
	b.ReportMetric(float64(len(w.cgroups)), "cgroups")
}
