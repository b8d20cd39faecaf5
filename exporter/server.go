// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// writeTimeout leaves room for a CPU profile of pprof's default 30 s.
	writeTimeout    = 60 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeaderBytes  = 32 << 10
)

// ServerConfig says what a Server serves and where. Store, Self, Registry and
// Logger must be set.
type ServerConfig struct {
	Store    *snapshot.Store
	Self     *SelfMetrics
	Registry prometheus.Gatherer // what Self is registered on
	Build    Build
	Select   Selection
	// ListenAddresses are host:port pairs; an empty host is every address.
	ListenAddresses []string
	// WebConfigFile is an exporter-toolkit web configuration (TLS, basic
	// authentication), or empty.
	WebConfigFile string
	// Guard wraps what only some may read, which is everything but the health;
	// nil means that everybody may. It cannot stand together with basic
	// authentication, as a request has one Authorization header.
	Guard func(http.Handler) http.Handler
	// HealthAddress is a host:port that answers for the health alone, without
	// TLS and authentication, or empty.
	HealthAddress string
	// PProf adds Go's profiles under /debug/pprof/.
	PProf  bool
	Logger *slog.Logger
	// Ready says whether the agent works as it should and, if not, why. It is
	// asked once there is a snapshot; nil means that one is enough.
	Ready func() (bool, string)
}

// Server answers for the agent over HTTP.
type Server struct {
	config    ServerConfig
	handler   http.Handler
	listeners []net.Listener
	health    net.Listener // nil without an address of its own
}

// NewServer returns a server that does not listen yet.
func NewServer(config ServerConfig) (*Server, error) {
	s := &Server{config: config}
	handler, err := s.newHandler()
	if err != nil {
		return nil, err
	}
	s.handler = handler
	return s, nil
}

// Handler returns what the server serves, without TLS and authentication.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen checks the web configuration and takes the addresses, so that a
// mistake in either fails the start. Close or Run gives them back.
func (s *Server) Listen() error {
	if s.config.WebConfigFile != "" {
		if err := s.checkWebConfig(); err != nil {
			return fmt.Errorf("read web configuration %s: %w; correct the file or start without --web.config.file",
				s.config.WebConfigFile, err)
		}
	}
	if len(s.config.ListenAddresses) == 0 {
		return errors.New("no address to listen on; give one with --web.listen-address")
	}
	for _, address := range s.config.ListenAddresses {
		listener, err := s.listen(address)
		if err != nil {
			return errors.Join(
				fmt.Errorf("listen on %s: %w; choose another address with --web.listen-address", address, err),
				s.Close())
		}
		s.listeners = append(s.listeners, listener)
	}
	if s.config.HealthAddress != "" {
		var err error
		if s.health, err = s.listen(s.config.HealthAddress); err != nil {
			return errors.Join(
				fmt.Errorf("listen on %s: %w; choose another address with --web.health-address", s.config.HealthAddress, err),
				s.Close())
		}
	}
	return nil
}

func (s *Server) listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &limitedListener{Listener: listener, refused: s.config.Self.connectionRefused}, nil
}

// checkWebConfig fails for what the toolkit would not take, and for what does
// not go together with a guard.
func (s *Server) checkWebConfig() error {
	if err := web.Validate(s.config.WebConfigFile); err != nil {
		return err
	}
	if s.config.Guard == nil {
		return nil
	}
	content, err := os.ReadFile(s.config.WebConfigFile)
	if err != nil {
		return err
	}
	var settings struct {
		Users map[string]string `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(content, &settings); err != nil {
		return err
	}
	if len(settings.Users) > 0 {
		return errors.New("basic_auth_users and --web.auth=kubernetes both want a request's one Authorization header, so that nobody " +
			"could pass both: choose one")
	}
	return nil
}

// Addresses returns where the server listens, after Listen.
func (s *Server) Addresses() []net.Addr {
	addresses := make([]net.Addr, len(s.listeners))
	for i, listener := range s.listeners {
		addresses[i] = listener.Addr()
	}
	return addresses
}

// Close gives back the addresses that Listen took, for a start that failed
// before Run.
func (s *Server) Close() error {
	var errs []error
	for _, listener := range s.listeners {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("stop listening on %s: %w", listener.Addr(), err))
		}
	}
	s.listeners = nil
	if s.health != nil {
		if err := s.health.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("stop listening on %s: %w", s.health.Addr(), err))
		}
		s.health = nil
	}
	return errors.Join(errs...)
}

// Run serves until ctx is done, then lets requests finish for a few seconds.
// It listens first if that was not done. It returns nil after a stop that ctx
// asked for, also when requests had to be cut off.
func (s *Server) Run(ctx context.Context) error {
	if len(s.listeners) == 0 {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, listener := range s.listeners {
		// One http.Server for each, because the toolkit wraps the handler of
		// the server that it is given.
		server := s.newHTTPServer(s.handler)
		group.Go(func() error { return s.serve(server, listener) })
		group.Go(func() error {
			<-groupCtx.Done()
			return s.shutdown(server)
		})
	}
	if s.health != nil {
		server, listener := s.newHTTPServer(readOnly(s.newHealthMux())), s.health
		group.Go(func() error { return ended(server.Serve(listener), listener) })
		group.Go(func() error {
			<-groupCtx.Done()
			return s.shutdown(server)
		})
	}
	err := group.Wait()
	return errors.Join(err, s.Close())
}

func (s *Server) serve(server *http.Server, listener net.Listener) error {
	flags := &web.FlagConfig{WebListenAddresses: &s.config.ListenAddresses, WebConfigFile: &s.config.WebConfigFile}
	return ended(web.Serve(listener, server, flags, s.config.Logger), listener)
}

// ended tells a stop that was asked for from one that was not.
func ended(err error, listener net.Listener) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
}

func (s *Server) shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.config.Logger.Warn("Requests were cut off at shutdown", "timeout", shutdownTimeout)
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving HTTP: %w", err)
	}
	return nil
}

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(serverErrorLog{s.config.Logger}, "", 0),
	}
}

func (s *Server) newHandler() (http.Handler, error) {
	metrics, err := newScrapeHandler(NewGatherer(s.config.Store, s.config.Registry, s.config.Select), s.config.Logger)
	if err != nil {
		return nil, err
	}
	cadvisor, err := newScrapeHandler(NewCadvisorGatherer(s.config.Store, s.config.Select), s.config.Logger)
	if err != nil {
		return nil, err
	}
	landing, err := s.newLandingPage()
	if err != nil {
		return nil, err
	}
	ooms, err := compressed(http.HandlerFunc(s.serveOOMs))
	if err != nil {
		return nil, err
	}
	hints, err := compressed(http.HandlerFunc(s.serveHints))
	if err != nil {
		return nil, err
	}
	lives, err := compressed(http.HandlerFunc(s.serveLives))
	if err != nil {
		return nil, err
	}
	limit := newScrapeLimit(s.config.Self.scrapeRefused)
	mux := http.NewServeMux()
	mux.Handle("/{$}", landing)
	mux.Handle("/metrics", limit.wrap(metrics))
	mux.Handle("/metrics/cadvisor", limit.wrap(cadvisor))
	mux.Handle("/api/v1/ooms", limit.wrap(ooms))
	mux.Handle("/api/v1/lives", limit.wrap(lives))
	mux.Handle("/api/v1/hints", limit.wrap(hints))
	if s.config.PProf {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	var guarded http.Handler = mux
	if s.config.Guard != nil {
		guarded = s.config.Guard(mux)
	}
	all := s.newHealthMux()
	all.Handle("/", guarded)
	return readOnly(all), nil
}

// newHealthMux returns what the kubelet asks, which never has a token.
func (s *Server) newHealthMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/-/healthy", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "healthy") })
	mux.HandleFunc("/-/ready", s.serveReady)
	return mux
}

func (s *Server) newLandingPage() (http.Handler, error) {
	profiling := "false"
	if s.config.PProf {
		profiling = "true"
	}
	page, err := web.NewLandingPage(web.LandingConfig{
		Name:        "slicewatch",
		Description: "CPU throttling, memory pressure and OOM kills of this node's pods, from cgroup v2.",
		Version:     s.config.Build.Version,
		Profiling:   profiling,
		Links: []web.LandingLinks{
			{Address: "metrics", Text: "Metrics"},
			{Address: "metrics/cadvisor", Text: "Metrics under cAdvisor's names"},
			{Address: "api/v1/ooms", Text: "OOM kills", Description: "the newest, with their victims and the minute before, as JSON"},
			{Address: "api/v1/lives", Text: "Lives", Description: "each start of a container, with its CPU, peak memory and end, as JSON"},
			{Address: "api/v1/hints", Text: "Hints", Description: "what requests and limits should be, and why, as JSON"},
			{Address: "-/healthy", Text: "Health"},
			{Address: "-/ready", Text: "Readiness"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the landing page: %w", err)
	}
	return page, nil
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !s.config.Store.View(func(*snapshot.Snapshot) {}) {
		answer(w, http.StatusServiceUnavailable, "not ready: the first sweep is not finished")
		return
	}
	if s.config.Ready != nil {
		if ready, reason := s.config.Ready(); !ready {
			answer(w, http.StatusServiceUnavailable, "not ready: "+reason)
			return
		}
	}
	answer(w, http.StatusOK, "ready")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error here is the client's going away.
	_, _ = fmt.Fprintln(w, text)
}
