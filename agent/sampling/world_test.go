// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/procfs"
	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// world is a made-up node: its cgroups with their readings and processes. It
// outlives the samplers that look at it, as the kernel outlives the agent.
type world struct {
	cgroups   []*cgroupfs.Cgroup
	readings  map[uint64]*cgroupfs.Reading
	procs     map[uint64][]int
	processes map[int]process
	nextID    uint64
	wake      chan struct{}
	journal   memoryJournal
	held      memoryJournal // of the durations
	lives     memoryJournal
	now       time.Time
}

type process struct {
	adj, score, pages int64
	start             time.Duration
	runtime           bool
}

// memoryJournal keeps the counters as a state directory would.
type memoryJournal struct {
	state []byte
	err   error
	syncs int
}

func (j *memoryJournal) Write(fill func([]byte) []byte) error {
	if j.err == nil {
		j.state = fill(nil)
	}
	return j.err
}

func (j *memoryJournal) Sync() error {
	j.syncs++
	return j.err
}

const bootID = "boot-1"

func newWorld() *world {
	w := &world{
		readings: map[uint64]*cgroupfs.Reading{}, procs: map[uint64][]int{}, processes: map[int]process{},
		nextID: 1, wake: make(chan struct{}, 1), now: time.Unix(1_800_000_000, 0),
	}
	kubepods := w.make(nil, cgroupfs.LevelKubepods, "/kubepods", cgroupfs.Guaranteed)
	w.make(kubepods, cgroupfs.LevelQoS, "/kubepods/burstable", cgroupfs.Burstable)
	w.make(kubepods, cgroupfs.LevelQoS, "/kubepods/besteffort", cgroupfs.BestEffort)
	return w
}

func (w *world) make(parent *cgroupfs.Cgroup, level cgroupfs.Level, path string, qos cgroupfs.QoS) *cgroupfs.Cgroup {
	c := &cgroupfs.Cgroup{ID: w.nextID, Path: path, Level: level, QoS: qos, Parent: parent}
	w.nextID++
	if parent != nil {
		c.PodUID = parent.PodUID
	}
	w.cgroups = append(w.cgroups, c)
	w.readings[c.ID] = &cgroupfs.Reading{}
	for _, f := range []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.CPUPeriods, cgroupfs.CPUThrottledPeriods, cgroupfs.MemoryEventOOMKill, cgroupfs.MemoryCurrent} {
		w.readings[c.ID].Set(f, 0)
	}
	return c
}

func (w *world) pod(qos cgroupfs.QoS, uid string) *cgroupfs.Cgroup {
	parent := w.cgroups[0]
	if qos != cgroupfs.Guaranteed {
		parent = w.cgroups[qos]
	}
	c := w.make(parent, cgroupfs.LevelPod, parent.Path+"/pod"+uid, qos)
	c.PodUID = uid
	return c
}

// container makes a container with one process.
func (w *world) container(pod *cgroupfs.Cgroup, id string, processes ...process) *cgroupfs.Cgroup {
	c := w.make(pod, cgroupfs.LevelContainer, pod.Path+"/"+id, pod.QoS)
	c.ContainerID = id
	for i, p := range processes {
		pid := int(c.ID) + 1000*(i+1)
		w.procs[c.ID] = append(w.procs[c.ID], pid)
		w.processes[pid] = p
	}
	return c
}

func (w *world) limit(c *cgroupfs.Cgroup, quota uint64) {
	w.readings[c.ID].Set(cgroupfs.CPUQuota, quota)
	w.readings[c.ID].Set(cgroupfs.CPUPeriod, 100_000)
}

// use grows a counter of a cgroup and, as the kernel does for this one, of all
// above it.
func (w *world) use(c *cgroupfs.Cgroup, f cgroupfs.Field, amount uint64) {
	for at := c; at != nil; at = at.Parent {
		w.readings[at.ID].Add(f, amount)
		if slices.Contains(cfsFields[:], f) {
			return
		}
	}
}

func (w *world) remove(c *cgroupfs.Cgroup) {
	w.cgroups = slices.DeleteFunc(slices.Clone(w.cgroups), func(o *cgroupfs.Cgroup) bool { return o == c })
	delete(w.readings, c.ID)
	delete(w.procs, c.ID)
}

// view is one agent's look at the world.
type view struct {
	w     *world
	known []*cgroupfs.Cgroup
	err   error                                  // of the next Refresh
	names map[string]*snapshot.ContainerIdentity // by container id
	made  map[uint64]*snapshot.ContainerIdentity
	pods  map[string]*snapshot.PodIdentity // by UID
}

func (v *view) Refresh() (cgroupfs.Changes, error) {
	var changes cgroupfs.Changes
	for _, c := range v.w.cgroups {
		if !slices.Contains(v.known, c) {
			changes.Born = append(changes.Born, c)
		}
	}
	for _, c := range v.known {
		if !slices.Contains(v.w.cgroups, c) {
			changes.Gone = append(changes.Gone, c)
		}
	}
	v.known = slices.Clone(v.w.cgroups)
	return changes, v.err
}

func (v *view) Cgroups() []*cgroupfs.Cgroup { return v.known }
func (v *view) Kubepods() (cgroupfs.Kubepods, bool) {
	return cgroupfs.Kubepods{Path: "/kubepods", Driver: cgroupfs.DriverCgroupfs}, len(v.known) > 0
}
func (v *view) Wake() <-chan struct{}     { return v.w.wake }
func (v *view) Stats() cgroupfs.TreeStats { return cgroupfs.TreeStats{} }

type reader struct{ w *world }

func (r reader) Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	reading := r.w.readings[c.ID]
	if reading == nil {
		return cgroupfs.ErrGone
	}
	*into = *reading
	return nil
}
func (r reader) ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error { return r.Read(c, into) }
func (reader) Begin(*cgroupfs.Cgroup) int                                 { return 0 }
func (reader) Method() string                                             { return "files" }
func (reader) AppendSource(to []snapshot.Source) []snapshot.Source        { return to }
func (reader) SettingsChanged(*cgroupfs.Cgroup)                           {}
func (reader) Forget(*cgroupfs.Cgroup)                                    {}
func (r reader) Procs(c *cgroupfs.Cgroup, into []int) ([]int, error) {
	return append(into, r.w.procs[c.ID]...), nil
}
func (reader) Stats() cgroupfs.FileReaderStats { return cgroupfs.FileReaderStats{} }

func (v *view) Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity {
	if id := v.names[c.ContainerID]; id != nil {
		return id
	}
	if v.made[c.ID] == nil {
		v.made[c.ID] = &snapshot.ContainerIdentity{Pod: c.PodUID, Name: c.ContainerID, PodUID: c.PodUID}
	}
	return v.made[c.ID]
}

func (v *view) Pod(c *cgroupfs.Cgroup) *snapshot.PodIdentity {
	if v.pods[c.PodUID] == nil {
		v.pods[c.PodUID] = &snapshot.PodIdentity{Name: c.PodUID, UID: c.PodUID}
	}
	return v.pods[c.PodUID]
}
func (v *view) Sandbox(*cgroupfs.Cgroup) (bool, bool) { return false, false }
func (v *view) Forget(*cgroupfs.Cgroup)               {}
func (v *view) Sources() []snapshot.Source            { return nil }

func (w *world) OOMScore(pid int) (int64, error)      { return w.one(pid).score, w.gone(pid) }
func (w *world) OOMScoreAdj(pid int) (int64, error)   { return w.one(pid).adj, w.gone(pid) }
func (w *world) ResidentPages(pid int) (int64, error) { return w.one(pid).pages, w.gone(pid) }
func (w *world) Stat(pid int) (procfs.Stat, error) {
	return procfs.Stat{Start: w.one(pid).start, InRuntime: w.one(pid).runtime}, w.gone(pid)
}
func (w *world) Program(pid int) (snapshot.Runtime, error) { return snapshot.Runtime{}, w.gone(pid) }
func (w *world) one(pid int) process                       { return w.processes[pid] }
func (w *world) gone(pid int) error {
	if _, ok := w.processes[pid]; !ok {
		return procfs.ErrGone
	}
	return nil
}

type node struct{}

func (node) CPUs() (int, error)                       { return 4, nil }
func (node) HasSwap() (bool, error)                   { return false, nil }
func (node) MemoryBytes() (uint64, error)             { return 24 << 30, nil }
func (node) Pressure(string) (procfs.Pressure, error) { return procfs.Pressure{}, fmt.Errorf("no PSI") }

type telemetry struct{ errors, lost map[string]int }

func (telemetry) SweepDone(string, time.Duration)    {}
func (t telemetry) EventsLost(source string, n int)  { t.lost[source] += n }
func (t telemetry) SweepErrors(reason string, n int) { t.errors[reason] += n }

// agent is a sampler on the world, with what a test looks at.
type agent struct {
	*Sampler
	view      *view
	telemetry telemetry
}

// start starts an agent that knows what an earlier one left in the journal.
func (w *world) start(t testing.TB, names map[string]*snapshot.ContainerIdentity) *agent {
	t.Helper()
	book := ledger.NewBook(1000)
	if w.journal.state != nil {
		if err := book.Load(w.journal.state, bootID, w.now); err != nil {
			t.Fatal(err)
		}
	}
	past := lives.New(bootID)
	if w.lives.state != nil {
		if err := past.Load(w.lives.state); err != nil {
			t.Fatal(err)
		}
	}
	a := &agent{
		view:      &view{w: w, names: maps.Clone(names), made: map[uint64]*snapshot.ContainerIdentity{}, pods: map[string]*snapshot.PodIdentity{}},
		telemetry: telemetry{errors: map[string]int{}, lost: map[string]int{}},
	}
	if a.view.names == nil {
		a.view.names = map[string]*snapshot.ContainerIdentity{}
	}
	a.Sampler = New(Config{
		Interval: time.Second, Retention: 5 * time.Minute, MaxEnded: 1000, BootID: bootID, BootTime: w.now.Add(-time.Hour), Root: t.TempDir(),
		Tree: a.view, Reader: reader{w}, Identities: a.view, Processes: w, Node: node{}, Journal: &w.journal, Book: book, Lives: past, LivesJournal: &w.lives,
		Kills: oom.New(oom.Config{BootID: bootID, Logger: slog.New(slog.DiscardHandler)}), Flight: flight.New(flight.Config{Moments: 60, Containers: 1000, Retention: time.Minute}),
		Telemetry: a.telemetry, Store: snapshot.NewStore(), Logger: slog.New(slog.DiscardHandler),
	})
	return a
}

// step lets a second pass, sweeps, and returns a copy of what was published.
func (a *agent) step() snapshot.Snapshot {
	a.view.w.now = a.view.w.now.Add(time.Second)
	a.sweep(a.view.w.now)
	var out snapshot.Snapshot
	a.cfg.Store.View(func(s *snapshot.Snapshot) {
		out = *s
		out.Pods, out.Containers = slices.Clone(s.Pods), slices.Clone(s.Containers)
	})
	return out
}

func find(t testing.TB, s snapshot.Snapshot, name string) snapshot.Container {
	t.Helper()
	for _, c := range s.Containers {
		if c.Identity.Name == name {
			return c
		}
	}
	t.Fatalf("no container %q", name)
	return snapshot.Container{}
}

func value(r cgroupfs.Reading, f cgroupfs.Field) string {
	v, ok := r.Get(f)
	if !ok {
		return "absent"
	}
	return fmt.Sprint(v)
}
