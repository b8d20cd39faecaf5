// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"log/slog"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Flight tells what a container did lately; *flight.Recorder.
type Flight interface {
	Append(into []snapshot.Moment, cgroup uint64, from, to time.Time) []snapshot.Moment
}

// Names says who a container is, also after its end; *identity.Resolver.
type Names interface {
	Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity
	Forget(c *cgroupfs.Cgroup)
}

// Journal keeps something outside of the process; *checkpoint.Journal.
type Journal interface {
	Write(fill func([]byte) []byte) error
	Sync() error
}

// Config is what a Keeper works with. Flight and Names may be nil; the numbers may be 0 for their defaults.
type Config struct {
	// Records bounds the records that are kept.
	Records int
	// Retention is how long the series of an ended container are kept.
	Retention time.Duration
	// BootID is the kernel's: cgroup ids mean nothing in another boot.
	BootID string
	Flight Flight
	Names  Names
	Logger *slog.Logger
}

const (
	defaultRecords   = 500
	defaultRetention = time.Hour
	// maxEndedSeries and maxEndedNodes bound what is kept of ended containers.
	maxEndedSeries = 5000
	maxEndedNodes  = 5000
	// keepEnded is how long an ended cgroup is known: an event of it may still
	// come, or a name.
	keepEnded = 2 * time.Minute
	// minuteBefore is how much of the flight recorder goes into a record.
	minuteBefore = time.Minute
	// askSweeps is for how long the names of an ended container are asked for.
	askSweeps = 60
	// firstSweep is the number of the first sweep. Those before it were another
	// keeper's.
	firstSweep = 1 << 20
)

// Keeper keeps account of OOM kills. It is for one goroutine, the sampler's,
// which calls it in this order at each sweep: Kill for what the kernel told,
// Ended for cgroups that went, Observe for each living one (and Identify or
// Sandbox for containers once it is known which they are), Finish, Fill.
type Keeper struct {
	cfg Config
	log *slog.Logger
	// counts and recordLog are nil where nothing is kept.
	counts, recordLog Journal

	nodes map[uint64]*node
	book  book
	// sweep counts the sweeps, from firstSweep.
	sweep uint64
	// resumed says that a state was loaded: what it does not have is new.
	resumed bool
	events  bool // the kernel tells kills
	asking  bool // some node's names are asked for
	// lost is how many events the kernel had no room for, lostAt the sweep in
	// which some were lost last, 0 for never.
	lost, lostAt uint64

	open    []*incident
	closed  map[incidentKey]*closedIncident
	waiting []waitingKill

	// records are newest first; the slice is replaced, never written to.
	records []*snapshot.OOMRecord
	lastID  uint64

	changed, recorded bool // since the last write
	writeFailed       bool
	missed, unplaced  uint64
}

// New returns a keeper that knows of no kill.
func New(cfg Config) *Keeper {
	if cfg.Records == 0 {
		cfg.Records = defaultRecords
	}
	if cfg.Retention == 0 {
		cfg.Retention = defaultRetention
	}
	return &Keeper{
		cfg: cfg, log: cfg.Logger, nodes: map[uint64]*node{}, book: newBook(),
		closed: map[incidentKey]*closedIncident{}, sweep: firstSweep,
	}
}

// KeepIn sets where the counters are kept, and where the records, which are much
// larger and change seldom. Either may be nil.
func (k *Keeper) KeepIn(counts, records Journal) { k.counts, k.recordLog = counts, records }

// SetEvents says whether the kernel tells kills by events now. Without, every
// kill is told by the files; with, those that the files alone told count as
// missed.
func (k *Keeper) SetEvents(up bool) { k.events = up }

// Lost says how many events of kills did not get here, since there are any.
func (k *Keeper) Lost(events uint64) {
	if events > k.lost {
		k.lostAt = k.sweep
	}
	k.lost = events
}

// losesEvents says whether events were lost that may be of what happened within
// lateSweeps.
func (k *Keeper) losesEvents() bool {
	return !k.events || k.lostAt > 0 && k.sweep-k.lostAt <= 2*lateSweeps
}

// Observe takes what a living cgroup says now. Parents come before their
// children.
func (k *Keeper) Observe(c *cgroupfs.Cgroup, r *cgroupfs.Reading, now time.Time) {
	if k.of(c).note(r, k.sweep == firstSweep && !k.resumed, k.sweep, now) {
		k.changed = true
	}
}

func (k *Keeper) of(c *cgroupfs.Cgroup) *node {
	n := k.nodes[c.ID]
	if n == nil {
		n = &node{id: c.ID, level: c.Level, qos: c.QoS}
		k.nodes[c.ID] = n
		k.changed = true
	}
	if n.cgroup == c {
		return n
	}
	if n.cgroup == nil && n.series != nil && n.ended.IsZero() { // from a loaded state
		n.series.live++
		n.series.ended = time.Time{}
	}
	n.cgroup = c
	if c.Parent != nil {
		n.parent = k.of(c.Parent)
	}
	return n
}

// Identify says who a container is. It has its series from then on.
func (k *Keeper) Identify(c *cgroupfs.Cgroup, id *snapshot.ContainerIdentity) {
	n := k.of(c)
	if n.identity == id && n.series != nil {
		return
	}
	n.role = application
	n.identity = id
	if of := k.keyOf(n); n.series == nil || of.named {
		k.attach(n, of)
	}
	k.renameRecords(n)
}

// Sandbox says that a container is its pod's sandbox, which has no series.
func (k *Keeper) Sandbox(c *cgroupfs.Cgroup) { k.of(c).role = sandbox }

// Ended says that a cgroup is gone, and what it said last.
func (k *Keeper) Ended(c *cgroupfs.Cgroup, last *cgroupfs.Reading, now time.Time) {
	n := k.of(c)
	if last.Len() > 0 {
		n.note(last, false, k.sweep, now)
	}
	k.end(n, now)
}

func (k *Keeper) end(n *node, now time.Time) {
	if !n.ended.IsZero() {
		return
	}
	n.ended, n.endedSweep = now, k.sweep
	n.asks = n.identity != nil && !n.identity.Known
	k.asking = k.asking || n.asks
	if n.series != nil && n.cgroup != nil {
		n.series.detach(now)
	}
	k.changed = true
}

// Finish ends a sweep: it decides what can be decided, forgets what is old and
// writes down what changed, so that nothing is shown that a killed agent would
// forget.
func (k *Keeper) Finish(now time.Time) {
	if k.sweep == firstSweep && k.resumed {
		k.endUnseen(now)
	}
	k.askNames()
	k.placeWaiting()
	k.closeIncidents(now, false)
	k.settleDebts(now)
	k.reconcile(now)
	k.expire(now)
	k.write()
	k.sweep++
}

// Close counts what is still open and writes it down, for the end of the
// agent.
func (k *Keeper) Close(now time.Time) {
	k.closeIncidents(now, true)
	k.write()
	for _, journal := range []Journal{k.counts, k.recordLog} {
		if journal != nil {
			k.report(journal.Sync())
		}
	}
}

// endUnseen ends what a loaded state said was alive and is not.
func (k *Keeper) endUnseen(now time.Time) {
	for _, n := range k.nodes {
		if n.cgroup == nil {
			k.end(n, now)
		}
	}
}

// askNames looks whether ended containers got their names at last.
func (k *Keeper) askNames() {
	if !k.asking {
		return
	}
	k.asking = false
	for _, n := range k.nodes {
		if !n.asks || k.cfg.Names == nil || n.cgroup == nil {
			continue
		}
		id := k.cfg.Names.Container(n.cgroup)
		age, killed := k.sweep-n.endedSweep, n.series != nil && n.series.any()
		if !id.Known && (age < lateSweeps || killed && age < askSweeps) {
			k.asking = true
			continue
		}
		n.asks = false
		if id.Known {
			n.identity = id
			k.attach(n, k.keyOf(n))
			k.renameRecords(n)
		}
		k.cfg.Names.Forget(n.cgroup)
	}
}

func (k *Keeper) expire(now time.Time) {
	ended := 0
	for id, n := range k.nodes {
		if n.ended.IsZero() {
			continue
		}
		ended++
		if now.Sub(n.ended) >= keepEnded || ended > maxEndedNodes {
			k.forget(id, n)
		}
	}
	if k.book.expire(now.Add(-k.cfg.Retention), maxEndedSeries) {
		k.changed = true
	}
}

func (k *Keeper) forget(id uint64, n *node) {
	if n.asks && k.cfg.Names != nil && n.cgroup != nil {
		k.cfg.Names.Forget(n.cgroup)
	}
	delete(k.nodes, id)
	k.changed = true
}

// Fill writes the series and the records into a snapshot.
func (k *Keeper) Fill(snap *snapshot.Snapshot) {
	snap.OOMs = snap.OOMs[:0]
	for _, s := range k.book.order {
		snap.OOMs = append(snap.OOMs, snapshot.OOMSeries{
			Series: s.number, Namespace: s.key.namespace, Pod: s.key.pod, Container: s.key.container, QoS: s.key.qos,
			Kills: s.kills, Processes: s.processes,
		})
	}
	snap.OOMRecords = k.records
	snap.Self.OOMEventsMissed, snap.Self.OOMUnplaced = k.missed, k.unplaced
}
