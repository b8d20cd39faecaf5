// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"context"
	"log/slog"
	"time"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Journal keeps the histories outside of the process; *checkpoint.Journal.
type Journal interface {
	Write(fill func([]byte) []byte) error
	Sync() error
}

// Stats opens the cpu.stat of cgroups; cgroupfs.CPUStats.
type Stats interface {
	Open(c *cgroupfs.Cgroup) (Stat, error)
}

// Stat is one open cpu.stat.
type Stat interface {
	Read(into *cgroupfs.Reading) error
	Close()
}

// Periods tells of each period of the CPU quota of the cgroups that it observes. It
// is for one goroutine, Run's.
type Periods interface {
	// Observe begins to tell of a cgroup; an error says that it cannot.
	Observe(cgroup uint64) error
	Ignore(cgroup uint64)
	// Drain passes on what was told since the last call.
	Drain(each func(cgroup uint64, tick quota.Tick))
	// Lost counts what could not be passed on, ever.
	Lost() uint64
}

// Config is what an Advisor works with. Everything but Journal and Periods must
// be set.
type Config struct {
	Settings hints.Settings
	Store    *history.Store
	Stats    Stats
	// Periods is nil without eBPF: then polls of cpu.stat are all there is.
	Periods Periods
	// Journal is nil when the state directory cannot be used.
	Journal Journal
	// OnWindow, if not nil, is shown the records of each window.
	OnWindow func(*quota.Records)
	Logger   *slog.Logger
}

// Advisor makes the hints of one node. Fill is for the sampler's goroutine,
// Run for one of its own.
type Advisor struct {
	cfg      Config
	subjects map[uint64]*subject // by the series of the snapshot
	sweeps   uint64
	begun    bool            // the OOM records of the time before were looked at
	unnamed  map[uint64]bool // the OOM records that lack names yet, by their ID
	due      struct{ save, tidy time.Time }
	saved    time.Time
	facts    struct {
		cpus, memory snapshot.Quantity
		ofPods       bool // the memory is what all pods may have
	}
	round rotation
	stats snapshot.Hints

	watches chan watch
	results chan result
	states  chan []byte
}

// New returns an advisor.
func New(cfg Config) *Advisor {
	return &Advisor{
		cfg: cfg, subjects: map[uint64]*subject{}, unnamed: map[uint64]bool{},
		watches: make(chan watch, maxWatches), results: make(chan result, 4*maxWatches), states: make(chan []byte, 1),
	}
}

const (
	saveEvery = 5 * time.Minute
	// saveOften is how often they are saved for what must not be forgotten.
	saveOften = time.Minute
	tidyEvery = time.Minute
)

// Fill takes in what a sweep found and gives each container its hint. The
// snapshot is about to be published.
func (a *Advisor) Fill(snap *snapshot.Snapshot) {
	// What is kept goes by the clock, how long an interval was by what no clock
	// that is set can change.
	taken, now := snap.Taken, snap.Taken.Round(0)
	a.sweeps++
	a.cfg.Store.Observe(now)
	a.facts.cpus = quantity(snap.Node.CPUs)
	a.facts.memory, a.facts.ofPods = quantity(snap.Node.MemoryBytes), false
	if limit, ok := snap.Kubepods.Current.Get(cgroupfs.MemoryMax); ok && limit != cgroupfs.Unlimited {
		// What the kubelet lets pods have: its node allocatable, and what its hard
		// eviction keeps free.
		a.facts.memory, a.facts.ofPods = snapshot.Quantity{V: float64(limit), Known: true}, true
	}
	for i := range snap.Containers {
		if c := &snap.Containers[i]; concerned(c) {
			a.subject(c, now).feed(c, taken)
		}
	}
	a.takeResults()
	a.takeOOMs(snap, now)
	a.choose(snap, taken)
	evaluations := maxEvaluations
	for i := range snap.Containers {
		c := &snap.Containers[i]
		c.Hint = nil
		if s := a.subjects[c.Series]; s != nil && concerned(c) {
			evaluations -= a.evaluate(s, c, now, evaluations)
			c.Hint = s.hint
		}
	}
	a.tidy(taken)
	snap.Hints = a.stats
}

// concerned says whether a container gets a hint: one that works as long as its
// pod does, and whose names are known, without which its history would belong
// to nobody.
func concerned(c *snapshot.Container) bool {
	id := c.Identity
	return !c.Sandbox && id.Known && id.Name != "" && id.Type != snapshot.InitContainer && id.Type != snapshot.EphemeralContainer
}

// keyOf returns whose history a container's is.
func keyOf(id *snapshot.ContainerIdentity) history.Key {
	key := history.Key{Namespace: id.Namespace, WorkloadKind: id.WorkloadKind, Workload: id.Workload, Container: id.Name}
	if key.Workload == "" {
		key.WorkloadKind, key.Workload = "Pod", id.Pod
	}
	return key
}

func (a *Advisor) subject(c *snapshot.Container, now time.Time) *subject {
	s := a.subjects[c.Series]
	if s == nil {
		s = &subject{}
		a.subjects[c.Series] = s
	}
	s.sweep = a.sweeps
	if s.identity != c.Identity {
		s.identity = c.Identity
		s.due = time.Time{}
		if key := keyOf(c.Identity); s.series == nil || s.series.Key() != key {
			s.series = a.cfg.Store.Series(key, now)
		}
	}
	if s.series == nil || a.cfg.Store.Find(s.series.Key()) != s.series {
		s.series = a.cfg.Store.Series(keyOf(c.Identity), now) // there may be room by now
	}
	return s
}

// tidy forgets subjects that are gone and saves the histories now and then.
func (a *Advisor) tidy(now time.Time) {
	if !now.Before(a.due.tidy) {
		a.due.tidy = now.Add(tidyEvery)
		for series, s := range a.subjects {
			if s.sweep != a.sweeps {
				delete(a.subjects, series)
			}
		}
	}
	store := a.cfg.Store.Stats()
	a.stats.Histories, a.stats.Refused, a.stats.ClockSteps = store.Series, store.Refused, store.ClockSteps
	switch {
	case a.cfg.Journal == nil:
	case a.due.save.IsZero() || a.due.save.Sub(now) > saveEvery: // the clock may have been set
		a.due.save = now.Add(saveEvery)
	case !now.Before(a.due.save):
		a.due.save, a.saved = now.Add(saveEvery), now
		a.save()
	}
}

// saveSoon has the histories saved with this sweep, unless they just were.
func (a *Advisor) saveSoon() { a.due.save = a.saved.Add(saveOften) }

// save hands the histories to Run, which writes them: a slow disk must not hold
// up a sweep. A state that is not written yet makes room for the newer one.
func (a *Advisor) save() {
	state, err := a.cfg.Store.AppendState(nil)
	if err != nil {
		a.cfg.Logger.Warn("the histories of use could not be saved", "error", err)
		return
	}
	select {
	case <-a.states:
	default:
	}
	a.states <- state
}

// Run polls cpu.stat and writes the histories until ctx ends.
func (a *Advisor) Run(ctx context.Context) error {
	p := newPoller(a)
	defer p.close()
	for {
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case state := <-a.states:
			a.write(state)
		case w := <-a.watches:
			p.begin(w, time.Now())
		case <-p.tick():
			p.poll(time.Now())
		}
	}
}

// Close writes the histories a last time. Neither Fill nor Run may be running.
func (a *Advisor) Close() {
	if a.cfg.Journal == nil || a.sweeps == 0 {
		return
	}
	state, err := a.cfg.Store.AppendState(nil)
	if err != nil {
		a.cfg.Logger.Warn("the histories of use could not be saved", "error", err)
		return
	}
	a.write(state)
}

func (a *Advisor) write(state []byte) {
	err := a.cfg.Journal.Write(func(buf []byte) []byte { return append(buf, state...) })
	if err == nil {
		err = a.cfg.Journal.Sync()
	}
	if err != nil {
		a.cfg.Logger.Warn("the histories of use could not be saved; hints start anew if the agent is restarted", "error", err)
	}
}

func quantity(n snapshot.Amount) snapshot.Quantity {
	return snapshot.Quantity{V: float64(n.N), Known: n.Known}
}
