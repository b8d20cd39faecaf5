// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// process variants: what a container's processes are while runc sets it up.
func (p process) inRuntime() process { p.runtime = true; return p }

func (p process) startedAt(at time.Duration) process { p.start = at; return p }

// Without names it takes the processes to tell a sandbox from an application, and
// what the runtime starts to set either up is neither.
func TestSandboxHasNoSeries(t *testing.T) {
	pause := process{adj: sandboxAdj, start: time.Minute}
	now := time.Hour // as the world's clock says
	for name, c := range map[string]struct {
		processes []process
		group     string
		want      []string // sandbox or application, sweep by sweep
	}{
		"pause":                         {[]process{pause}, "0", []string{"sandbox"}},
		"application":                   {[]process{app}, "0", []string{"application"}},
		"being set up by runc":          {[]process{pause.inRuntime()}, "0", []string{"nothing", "nothing"}},
		"runc's three stages":           {[]process{pause.inRuntime(), pause.inRuntime(), pause.inRuntime()}, "0", []string{"nothing", "nothing"}},
		"runc, started by nobody known": {[]process{app.inRuntime()}, "0", []string{"nothing", "nothing"}},
		"runc's last stage is there":    {[]process{app, app.inRuntime()}, "0", []string{"nothing", "nothing"}},
		"pause just started":            {[]process{pause.startedAt(now)}, "0", []string{"nothing", "sandbox"}},
		"runc not yet by that name":     {[]process{app.startedAt(now)}, "0", []string{"nothing", "application"}},
		"a young child":                 {[]process{app, app.startedAt(now)}, "0", []string{"application"}},
		"kubelet's group kill":          {[]process{pause.inRuntime()}, "1", []string{"application"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			container := w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", c.processes...)
			if c.group == "1" {
				w.readings[container.ID].Set(cgroupfs.MemoryOOMGroup, 1)
			}
			a := w.start(t, nil)
			for i, want := range c.want {
				got := "nothing"
				for _, c := range a.step().Containers {
					got = map[bool]string{true: "sandbox", false: "application"}[c.Sandbox]
				}
				if got != want {
					t.Errorf("sweep %d: %s, want %s", i, got, want)
				}
			}
		})
	}
}

// An agent without the host's PID namespace finds no processes in containers
// that have some.
func TestWithoutTheHostsProcesses(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.BestEffort, "uid-1")
	first, second := w.container(pod, "pause", app), w.container(pod, "main", app)
	for _, c := range []*cgroupfs.Cgroup{first, second} {
		w.procs[c.ID] = nil
		w.readings[c.ID].Set(cgroupfs.PIDsCurrent, 1)
	}
	a := w.start(t, nil)
	a.step()
	a.step()
	s := a.step()
	if !find(t, s, "pause").Sandbox || find(t, s, "main").Sandbox {
		t.Error("the first container of a pod is its sandbox")
	}
	for _, source := range s.Sources {
		if source.Name == sourceProcfs && source.Up {
			t.Error("procfs is up, though no process can be seen")
		}
	}
}

func TestRankIsTheKernelsOrder(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.BestEffort, "uid-1")
	w.container(pod, "small", process{adj: 1000, score: 1333, pages: 10, start: 1})
	w.container(pod, "large", process{adj: 1000, score: 1333, pages: 500, start: 1})
	w.container(pod, "first", process{adj: 1000, score: 1400, pages: 50000, start: 1})
	w.container(pod, "never", process{adj: -1000, score: 0, start: 1})
	w.container(pod, "last", process{adj: -997, score: 2, start: 1})
	s := w.start(t, nil).step()
	got := map[string]snapshot.Amount{}
	for _, c := range s.Containers {
		got[c.Identity.Name] = c.OOMRank
	}
	rank := func(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }
	want := map[string]snapshot.Amount{"first": rank(1), "large": rank(2), "small": rank(3), "last": rank(4), "never": {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ranks (-want +got):\n%s", diff)
	}
}
