// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/slicewatch/slicewatch/agent/procfs"
	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Tree says which cgroups there are; *cgroupfs.Tree.
type Tree interface {
	Refresh() (cgroupfs.Changes, error)
	Cgroups() []*cgroupfs.Cgroup
	Kubepods() (cgroupfs.Kubepods, bool)
	Wake() <-chan struct{}
	Stats() cgroupfs.TreeStats
}

// Reader reads cgroups; *reading.Reader.
type Reader interface {
	// Begin starts a sweep, and Read then reads as of it. What it returns is how
	// many cgroups the eBPF iterator had no room for.
	Begin(kubepods *cgroupfs.Cgroup) (missed int)
	// Method is what this sweep reads through, as Telemetry.SweepDone takes it.
	Method() string
	Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error
	// ReadNow is Read between two sweeps.
	ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error
	SettingsChanged(c *cgroupfs.Cgroup)
	Forget(c *cgroupfs.Cgroup)
	Procs(c *cgroupfs.Cgroup, into []int) ([]int, error)
	Stats() cgroupfs.FileReaderStats
	AppendSource(to []snapshot.Source) []snapshot.Source
}

// Identities says who a cgroup is. A returned pointer stays the same until
// what it points to would change.
type Identities interface {
	Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity
	Pod(c *cgroupfs.Cgroup) *snapshot.PodIdentity
	// Sandbox says whether a container is its pod's sandbox, if it is known.
	Sandbox(c *cgroupfs.Cgroup) (sandbox, known bool)
	Forget(c *cgroupfs.Cgroup)
	Sources() []snapshot.Source
}

// Processes reads single processes; *procfs.FS.
type Processes interface {
	OOMScore(pid int) (int64, error)
	OOMScoreAdj(pid int) (int64, error)
	ResidentPages(pid int) (int64, error)
	Stat(pid int) (procfs.Stat, error)
	Program(pid int) (snapshot.Runtime, error)
}

// Hints gives the containers of a snapshot their hints before it is published;
// *sizing.Advisor.
type Hints interface {
	Fill(snap *snapshot.Snapshot)
}

// Node reads the node as a whole; *procfs.Node.
type Node interface {
	CPUs() (int, error)
	MemoryBytes() (uint64, error)
	HasSwap() (bool, error)
	Pressure(resource string) (procfs.Pressure, error)
}

// Journal keeps the counters outside of the process; *checkpoint.Journal.
type Journal interface {
	Write(fill func([]byte) []byte) error
	Sync() error
}

// Telemetry takes what the sampler says of itself.
type Telemetry interface {
	SweepDone(reader string, took time.Duration)
	SweepErrors(reason string, n int)
	EventsLost(source string, n int)
}

// Config is what a Sampler works with. Everything but Journal, Durations, Events
// and what belongs to them must be set.
type Config struct {
	Interval  time.Duration
	Retention time.Duration
	// MaxEnded bounds the ended pods and containers that are kept.
	MaxEnded int
	// Root is where the cgroup file system is mounted.
	Root string
	// BootID and BootTime are the kernel's.
	BootID   string
	BootTime time.Time

	Tree       Tree
	Reader     Reader
	Identities Identities
	Processes  Processes
	Node       Node
	// Journal is nil when the state directory cannot be used, which
	// JournalReason then explains.
	Journal       Journal
	JournalReason string
	Book          *ledger.Book
	// LivesJournal keeps Lives; nil where Journal is.
	LivesJournal Journal
	Lives        *lives.Book
	Kills        Kills
	// Durations is nil without eBPF.
	Durations Durations
	// HeldJournal keeps what Durations told; nil where Journal is, or without
	// Durations. Held is what it had.
	HeldJournal Journal
	Held        Held
	Flight      Flight
	// Events is nil where eBPF does not tell of births, deaths and OOM kills.
	// EventsStatus then says why, unless it is not wanted.
	Events       Events
	EventsStatus []bpf.Status
	// Periods is nil where no eBPF is wanted.
	Periods Periods
	// KillSink may be nil.
	KillSink KillSink
	// Hints is nil where no hints are wanted.
	Hints     Hints
	Telemetry Telemetry
	Store     *snapshot.Store
	Logger    *slog.Logger
}

// Sampler reads the node at every tick. All its work is done by Run's
// goroutine.
type Sampler struct {
	cfg Config
	log *slog.Logger

	members   map[uint64]*member // by cgroup id
	order     []*member          // parents before children
	tracks    map[uint64]*track  // by series number
	classes   classes
	holds     holds
	lifecycle lifecycle
	nameless  []nameless

	rank      ranking
	processes processSweep
	sources   sources
	node      snapshot.Node
	nodeDue   time.Time
	noSwap    bool
	counts    struct {
		sweeps, late, stateWrites, stateErrors, fell uint64
	}
	first     bool
	wake      time.Time
	complain  complaints
	ended     bool // something ended since the last sync to the disk
	syncWants chan struct{}
}

// New returns a sampler that has not read anything yet.
func New(cfg Config) *Sampler {
	s := &Sampler{
		cfg:       cfg,
		log:       cfg.Logger,
		members:   map[uint64]*member{},
		tracks:    map[uint64]*track{},
		first:     true,
		complain:  complaints{log: cfg.Logger, telemetry: cfg.Telemetry},
		syncWants: make(chan struct{}, 1),
	}
	s.sources.init(cfg.Reader, cfg.Identities)
	s.lifecycle.init(cfg.Events)
	return s
}

// minBetween bounds how often births and deaths are looked at between two
// sweeps, so that a storm of them costs no more than a few sweeps would.
const minBetween = 20 * time.Millisecond

// Run sweeps until ctx ends. The last thing it does is to write the counters
// and to bring them to the disk: the node may be about to go down as well.
func (s *Sampler) Run(ctx context.Context) error {
	synced := make(chan struct{})
	syncing, stop := context.WithCancel(ctx)
	go func() {
		defer close(synced)
		s.syncWhenAsked(syncing)
	}()
	// Also when a sweep panics, which must end the agent and not hold it up.
	defer func() { stop(); <-synced }()

	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	s.sweep(time.Now())
	wake, told := s.cfg.Tree.Wake(), s.eventsWake()
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			s.drain()
			s.cfg.Kills.Close(time.Now())
			s.save()
			s.sync()
			return nil
		case <-ticker.C:
			s.sweep(time.Now())
		case <-wake:
			// Looked at once the least distance is kept; further wakes wait.
			wake, told, later = nil, nil, s.afterLeastDistance()
		case <-told:
			wake, told, later = nil, nil, s.afterLeastDistance()
		case <-later:
			wake, told, later = s.cfg.Tree.Wake(), s.eventsWake(), nil
			s.wake = time.Now()
			s.between(s.wake)
		}
	}
}

func (s *Sampler) afterLeastDistance() <-chan time.Time {
	return time.After(time.Until(s.wake.Add(minBetween)))
}

// between takes over what was made and what went, so that a short life is seen
// and last counts are caught. It reads only what is new.
func (s *Sampler) between(now time.Time) {
	s.drainDurations()
	s.drain()
	// An error concerns single directories; what changed elsewhere is told only
	// once.
	changes, err := s.cfg.Tree.Refresh()
	if err != nil {
		s.complain.about("tree", err)
	}
	s.apply(changes, now)
	for _, c := range changes.Born {
		if m := s.members[c.ID]; m != nil {
			s.read(m, now, s.cfg.Reader.ReadNow)
			if m.cgroup.Level == cgroupfs.LevelContainer {
				s.look(m, now)
			}
		}
	}
}

// sweep reads everything once and publishes it.
func (s *Sampler) sweep(now time.Time) {
	s.counts.sweeps++
	s.readNode(now)
	s.drainDurations()
	s.drain()
	changes, err := s.cfg.Tree.Refresh()
	if err != nil {
		s.complain.about("tree", err)
	}
	s.apply(changes, now)
	s.settleLifecycle(now)
	s.nameTheEnded(now)
	if missed := s.cfg.Reader.Begin(s.kubepods()); missed > 0 {
		s.cfg.Telemetry.SweepErrors("iterator_overflow", missed)
	}
	for _, m := range s.order {
		s.read(m, now, s.cfg.Reader.Read)
	}
	s.lookAtProcesses(now)
	for _, m := range s.order {
		s.account(m, now)
	}
	s.accountClasses()
	s.recordSweep(now)
	if s.first {
		s.first = false
		if n := s.cfg.Book.CloseUnseen(now, s.living, func(inc *ledger.Incarnation) { s.recordUnseen(inc, now) }); n > 0 {
			s.log.Info("some cgroups ended while no agent looked; their counters stay", "cgroups", n)
		}
	}
	s.cfg.Book.Expire(now.Add(-s.cfg.Retention), func(ended *ledger.Series) { delete(s.tracks, ended.Number()) })
	s.cfg.Lives.Expire(now.Add(-lives.Retention))
	s.reportFalls()
	s.save()
	s.sources.update(now, err, s)
	s.publish(now)
	took := time.Since(now)
	if took > s.cfg.Interval {
		s.counts.late++
	}
	s.cfg.Telemetry.SweepDone(s.cfg.Reader.Method(), took)
}

// kubepods returns the cgroup above all pods, nil while there is none.
func (s *Sampler) kubepods() *cgroupfs.Cgroup {
	if len(s.order) == 0 || s.order[0].cgroup.Level != cgroupfs.LevelKubepods {
		return nil
	}
	return s.order[0].cgroup
}

func (s *Sampler) living(cgroup uint64) bool { return s.members[cgroup] != nil }

// apply takes over births, deaths and rewritten settings.
func (s *Sampler) apply(changes cgroupfs.Changes, now time.Time) {
	for _, c := range changes.Gone {
		if m := s.members[c.ID]; m != nil && m.cgroup == c {
			s.leave(m, now)
		}
	}
	for _, c := range changes.Born {
		m := &member{cgroup: c, watched: !s.first, born: now}
		if info, err := os.Stat(s.cfg.Root + c.Path); err == nil {
			m.born = info.ModTime()
		}
		if c.Level == cgroupfs.LevelContainer && s.cfg.Book.Knows(c.Level, c.ID) {
			m.kind = application // an agent before this one found out
		}
		s.members[c.ID] = m
		s.appeared(m)
	}
	for _, c := range changes.Rewritten {
		s.cfg.Reader.SettingsChanged(c)
	}
	if len(changes.Gone) == 0 && len(changes.Born) == 0 {
		return
	}
	s.order = s.order[:0]
	for _, c := range s.cfg.Tree.Cgroups() {
		if m := s.members[c.ID]; m != nil {
			s.order = append(s.order, m)
		}
	}
	s.placeDurations()
}

// end closes the account of a cgroup that is gone.
func (s *Sampler) end(m *member, now time.Time) {
	if m.read && (m.inc == nil || m.final || m.late) {
		s.judge(m)
		s.account(m, now)
	}
	s.endDurations(m)
	s.recordEnd(m, now)
	s.recordLife(m, now)
	if m.inc != nil {
		s.awaitLate(m)
		s.cfg.Book.Close(m.inc, now)
		s.ended = true
	}
	if m.guaranteed != nil {
		s.cfg.Book.Close(m.guaranteed, now)
	}
	s.cfg.Reader.Forget(m.cgroup)
	s.forgetNames(m, now)
	delete(s.members, m.cgroup.ID)
}

func (s *Sampler) reportFalls() {
	if fell := s.cfg.Book.Stats().Fell; fell > s.counts.fell {
		s.cfg.Telemetry.SweepErrors("counter_fell", int(fell-s.counts.fell))
		s.counts.fell = fell
	}
}
