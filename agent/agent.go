// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/agent/checkpoint"
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/identity"
	"github.com/slicewatch/slicewatch/agent/lifecycle"
	"github.com/slicewatch/slicewatch/agent/procfs"
	"github.com/slicewatch/slicewatch/agent/sampling"
	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/sampling/reading"
	"github.com/slicewatch/slicewatch/agent/sizing"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/agent/version"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/access"
)

// maxEnded bounds how many ended pods and containers are kept for the
// retention time: ten times what a full node has.
const maxEnded = 5000

// Agent is a node agent that is ready to run once.
type Agent struct {
	log     *slog.Logger
	tree    *cgroupfs.Tree
	reader  *cgroupfs.FileReader
	reading *reading.Reader
	procs   *procfs.FS
	// journals are none when the state directory cannot be used.
	journals []*checkpoint.Journal
	names    *identity.Resolver
	flight   *flight.Recorder
	events   *events.Reader // nil where eBPF does not tell any
	// durations and periods are nil where no eBPF is wanted.
	durations *durations.Reader
	periods   *durations.Periods
	advisor   *sizing.Advisor
	sampler   *sampling.Sampler
	access    *access.Reviewer // nil when the API server is not asked who may read
	server    *exporter.Server

	recording bool // the cgroup files are a recording
}

// New makes an agent. It fails for what an operator has to mend: a cgroup file
// system or a proc file system that cannot be used, a wrong web configuration,
// an address that is taken. What the agent can do without (the state
// directory) it reports as a source that is down.
func New(cfg config.Config, logger *slog.Logger, build version.Info) (*Agent, error) {
	a := &Agent{log: logger}
	if err := a.build(cfg, build); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	// To load eBPF programs took tens of MiB for the kernel's types, which a
	// heap as small as the agent's would keep for ever.
	debug.FreeOSMemory()
	return a, nil
}

func (a *Agent) build(cfg config.Config, build version.Info) error {
	if err := a.openKernel(cfg); err != nil {
		return err
	}
	store, registry := snapshot.NewStore(), prometheus.NewRegistry()
	self, err := exporter.NewSelfMetrics(registry, exporter.Build{Version: build.Version, Revision: build.Revision})
	if err != nil {
		return err
	}
	if err := a.makeSampler(cfg, store, self); err != nil {
		return err
	}
	guard, err := a.makeGuard(cfg, self)
	if err != nil {
		return err
	}
	a.server, err = exporter.NewServer(exporter.ServerConfig{
		Store: store, Self: self, Registry: registry,
		Build: exporter.Build{Version: build.Version, Revision: build.Revision},
		Select: exporter.Selection{
			DetailAll: cfg.Metrics.DetailAll, Include: cfg.Metrics.Include, Exclude: cfg.Metrics.Exclude,
			NamespacesExclude: cfg.Metrics.NamespacesExclude,
		},
		ListenAddresses: cfg.Web.ListenAddresses, WebConfigFile: cfg.Web.ConfigFile, PProf: cfg.Web.PProf,
		Guard: guard, HealthAddress: cfg.Web.HealthAddress, Logger: a.log,
	})
	if err != nil {
		return err
	}
	return a.server.Listen()
}

// makeGuard returns what lets requests through or not, nil for all of them.
func (a *Agent) makeGuard(cfg config.Config, self *exporter.SelfMetrics) (func(http.Handler) http.Handler, error) {
	if cfg.Web.Auth != "kubernetes" {
		return nil, nil
	}
	var err error
	a.access, err = access.New(access.Config{
		Kubeconfig: cfg.Names.Kubeconfig, Audiences: cfg.Web.AuthAudiences, AllowedTime: cfg.Web.AuthCacheTime, Logger: a.log,
		Decided:  func(d access.Decision) { self.AccessDecided(string(d), 1) },
		Reviewed: self.AccessReviewed,
	})
	if err != nil {
		return nil, err
	}
	for _, decision := range access.Decisions() {
		self.AccessDecided(string(decision), 0)
	}
	return a.access.Wrap, nil
}

// openKernel opens what the agent reads of the kernel.
func (a *Agent) openKernel(cfg config.Config) error {
	root := cfg.Paths.CgroupFS
	if err := cgroupfs.CheckRoot(root); err != nil {
		if !isRecording(root, err) {
			return err
		}
		a.recording = true
		a.log.Warn("this is no cgroup file system but looks like a recording of one; reading it as such", "path", root)
	}
	var err error
	a.tree, err = cgroupfs.NewTree(root, cgroupfs.TreeConfig{Hint: cfg.Cgroup.Root, Logger: a.log, Watch: true})
	if err != nil {
		return err
	}
	a.reader, err = cgroupfs.NewFileReader(root, cgroupfs.FileReaderConfig{MaxOpen: cfg.Cgroup.MaxOpenFiles})
	if err != nil {
		return err
	}
	if err := a.openReading(cfg); err != nil {
		return err
	}
	a.procs, err = procfs.Open(cfg.Paths.ProcFS)
	if err != nil {
		return fmt.Errorf("%w; mount the host's /proc or say where it is with --path.procfs", err)
	}
	return nil
}

// isRecording says whether a directory that is no cgroup mount holds the files
// of one, such as a copy made for a bug report.
func isRecording(root string, err error) bool {
	var wrong *cgroupfs.RootError
	if !errors.As(err, &wrong) || wrong.Mode != cgroupfs.ModeNone {
		return false
	}
	_, err = os.Stat(filepath.Join(root, "cgroup.controllers"))
	return err == nil
}

func (a *Agent) makeSampler(cfg config.Config, store *snapshot.Store, self *exporter.SelfMetrics) error {
	node, err := procfs.OpenNode(cfg.Paths.ProcFS)
	if err != nil {
		return err
	}
	bootID, err := node.BootID()
	if err != nil {
		// Taken for the same boot each time. After a restart of the node a
		// counter then stands still until it passes what it was; the other way
		// round each restart of the agent would count everything twice.
		a.log.Warn("it cannot be told whether the node was restarted", "error", err)
		bootID = "unknown"
	}
	if err := a.makeNames(cfg, node); err != nil {
		return err
	}
	settings := sampling.Config{
		Interval: cfg.SampleInterval, Retention: cfg.Retention, Root: cfg.Paths.CgroupFS, BootID: bootID, BootTime: bootTime(),
		Tree: a.tree, Reader: a.reading, Identities: a.names, Processes: a.procs, Node: node,
		Book: ledger.NewBook(maxEnded), Lives: lives.New(bootID), Telemetry: self, Store: store, Logger: a.log,
	}
	journal, err := a.resume(cfg.Paths.State, "counters", func(state []byte) error {
		return settings.Book.Load(state, bootID, time.Now())
	})
	if err != nil {
		settings.JournalReason = err.Error()
		a.log.Warn("counters will not survive a restart of the agent", "reason", err)
	} else {
		settings.Journal = journal
	}
	if err := a.openDurations(cfg, &settings); err != nil {
		return err
	}
	a.resumeLives(cfg.Paths.State, &settings)
	a.flight = flight.New(flightBounds)
	kills := a.makeKills(cfg.Paths.State, settings)
	settings.Flight, settings.Kills = a.flight, kills
	if err := a.openEvents(cfg, &settings, kills); err != nil {
		return err
	}
	a.advisor = a.makeAdvisor(cfg, settings)
	settings.Hints = a.advisor
	a.sampler = sampling.New(settings)
	return nil
}

func (a *Agent) makeNames(cfg config.Config, node *procfs.Node) error {
	memory, err := node.MemoryBytes()
	if err != nil {
		memory = 0 // then no oom_score_adj is expected
		a.log.Warn("the node's memory is not known", "error", err)
	}
	a.names, err = identity.New(identity.Config{
		NodeName:   cfg.NodeName,
		Kubernetes: identity.Mode(cfg.Names.Kubernetes), Kubeconfig: cfg.Names.Kubeconfig,
		Containerd: identity.Mode(cfg.Names.Containerd), ContainerdAddress: cfg.Names.ContainerdAddress,
		NodeMemoryBytes: int64(memory), Logger: a.log,
	})
	return err
}

// bootTime returns when the kernel started, to the 10 ms that the start times
// of processes are given in, so that they come out the same in every agent.
func bootTime() time.Time {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(since.Nano())).Round(10 * time.Millisecond)
}

// HandOverGlobalLog makes what a library logs globally go to logger. It is for
// the whole process: main calls it once.
func HandOverGlobalLog(logger *slog.Logger) { identity.HandOverGlobalLog(logger) }

// Addresses returns where the agent serves HTTP.
func (a *Agent) Addresses() []net.Addr { return a.server.Addresses() }

// Run works until ctx ends or a part fails, and closes everything.
func (a *Agent) Run(ctx context.Context) error {
	services := []lifecycle.Service{service{"cgroup watch", a.tree.Run}, service{"names", a.names.Run}}
	if a.events != nil {
		services = append(services, service{"events", a.events.Run})
	}
	services = append(services, service{"hints", a.advisor.Run}, service{"sampler", a.sampler.Run}, service{"web server", a.server.Run})
	err := lifecycle.Group{Services: services}.Run(ctx)
	return errors.Join(err, a.Close())
}

// Close gives back what New opened, for an agent that is not run.
func (a *Agent) Close() error {
	var errs []error
	if a.advisor != nil {
		a.advisor.Close()
	}
	if a.server != nil {
		errs = append(errs, a.server.Close())
	}
	if a.access != nil {
		a.access.Close()
	}
	if a.events != nil {
		errs = append(errs, a.events.Close())
	}
	for _, journal := range a.journals {
		errs = append(errs, journal.Close())
	}
	if a.procs != nil {
		errs = append(errs, a.procs.Close())
	}
	if a.durations != nil {
		errs = append(errs, a.durations.Close())
	}
	if a.periods != nil {
		errs = append(errs, a.periods.Close())
	}
	if a.reading != nil {
		errs = append(errs, a.reading.Close())
	}
	if a.reader != nil {
		errs = append(errs, a.reader.Close())
	}
	if a.tree != nil {
		errs = append(errs, a.tree.Close())
	}
	return errors.Join(errs...)
}

// service is a function with a name.
type service struct {
	name string
	run  func(context.Context) error
}

func (s service) Name() string                  { return s.name }
func (s service) Run(ctx context.Context) error { return s.run(ctx) }
