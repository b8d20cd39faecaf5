// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const (
	// criNamespace is where the CRI plugin keeps what it makes.
	criNamespace = "k8s.io"

	topicCreate = "/containers/create"
	topicDelete = "/containers/delete"

	// maxLookups bounds the ids that wait to be looked up. Beyond it, all that
	// have no names yet are looked up in turn.
	maxLookups = 1024

	// defaultAnswerTime is how long containerd may take for one answer.
	defaultAnswerTime = 5 * time.Second

	reconnectMin = 500 * time.Millisecond
	reconnectMax = 30 * time.Second
)

// Sink takes the facts. Its methods are called one at a time, and may be
// called while Lookup is.
type Sink interface {
	SetContainer(Container)
	// DeleteContainer is called when containerd no longer has the container.
	DeleteContainer(id string)
	// Connected is called when events may have been missed. It returns the
	// ids of all containers whose facts are wanted and not known.
	Connected() (wanted []string)
}

// Config is what a Source needs.
type Config struct {
	// Address is the path of containerd's socket.
	Address string
	Logger  *slog.Logger
	// Report is called when containerd begins to answer or stops to, with the
	// reason and the mend.
	Report func(up bool, reason string)
}

// Source asks containerd.
type Source struct {
	cfg     Config
	sink    Sink
	lookups chan string
	// answerTime is defaultAnswerTime but in tests.
	answerTime time.Duration
	// overflowed is set when an id did not fit into lookups.
	overflowed atomic.Bool
}

// New returns a source that hands its facts to sink once it runs.
func New(cfg Config, sink Sink) *Source {
	return &Source{cfg: cfg, sink: sink, answerTime: defaultAnswerTime, lookups: make(chan string, maxLookups)}
}

// Lookup asks for the facts of a container, which come to the sink later, or
// never if containerd does not know it. It does not block.
func (s *Source) Lookup(id string) {
	select {
	case s.lookups <- id:
	default:
		s.overflowed.Store(true)
	}
}

// Run stays connected to containerd until ctx ends. Nothing that goes wrong
// ends it before: it says so through Report and tries again.
func (s *Source) Run(ctx context.Context) {
	wait := reconnectMin
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.cfg.Report(false, explain(err, s.cfg.Address))
		if time.Since(began) > reconnectMax {
			wait = reconnectMin
		}
		// Jitter keeps the agents of a fleet out of step, for example when an
		// update restarts containerd everywhere.
		if !sleep(ctx, wait/2+rand.N(wait/2)) {
			return
		}
		wait = min(2*wait, reconnectMax)
	}
}

// session is one connection. It returns why it ended.
//
// Containers are looked up one by one: a list would bring every container's
// whole runtime spec at once, some 10 KiB each, to get at its labels.
func (s *Source) session(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	events, failed := client.Subscribe(ctx,
		fmt.Sprintf("namespace==%q,topic==%q", criNamespace, topicCreate),
		fmt.Sprintf("namespace==%q,topic==%q", criNamespace, topicDelete))
	store := client.ContainerService()
	s.discardLookups()
	if err := s.lookUpWanted(ctx, store); err != nil {
		return err
	}
	s.cfg.Report(true, "")
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-failed:
			return fmt.Errorf("follow its events: %w", orClosed(err))
		case event := <-events:
			err = s.handle(ctx, store, event)
		case id := <-s.lookups:
			err = s.lookUp(ctx, store, id)
		}
		if err == nil && len(s.lookups) == 0 && s.overflowed.Swap(false) {
			err = s.lookUpWanted(ctx, store)
		}
		if err != nil {
			return err
		}
	}
}

// dial connects and makes sure that it is containerd that answers.
func (s *Source) dial(ctx context.Context) (*containerd.Client, error) {
	connect := func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: s.answerTime}).DialContext(ctx, "unix", s.cfg.Address)
	}
	// gRPC turns what goes wrong here into text; this shows what it was.
	conn, err := connect(ctx, "")
	if err != nil {
		return nil, errors.Join(err, s.checkSocket())
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	client, err := containerd.New(s.cfg.Address,
		containerd.WithDefaultNamespace(criNamespace),
		containerd.WithTimeout(s.answerTime),
		containerd.WithExtraDialOpts([]grpc.DialOption{grpc.WithContextDialer(connect)}))
	if err != nil {
		return nil, err
	}
	answer, cancel := context.WithTimeout(ctx, s.answerTime)
	defer cancel()
	version, err := client.Version(answer)
	if err != nil {
		return nil, errors.Join(versionError(err), client.Close())
	}
	s.cfg.Logger.Debug("containerd answers", "address", s.cfg.Address, "version", version.Version)
	return client, nil
}

// checkSocket tells a file that is no socket, which connect(2) does not.
func (s *Source) checkSocket() error {
	info, err := os.Stat(s.cfg.Address)
	if err != nil || info.Mode().Type() == fs.ModeSocket {
		return nil
	}
	return syscall.ENOTSOCK
}

// discardLookups empties the queue: what waits in it is wanted anyway.
func (s *Source) discardLookups() {
	s.overflowed.Store(false)
	for {
		select {
		case <-s.lookups:
		default:
			return
		}
	}
}

func (s *Source) lookUpWanted(ctx context.Context, store containers.Store) error {
	for _, id := range s.sink.Connected() {
		if err := s.lookUp(ctx, store, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) lookUp(ctx context.Context, store containers.Store, id string) error {
	answer, cancel := context.WithTimeout(ctx, s.answerTime)
	defer cancel()
	container, err := store.Get(answer, id)
	if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) {
		// Another runtime's container, or one that is gone already.
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for container %s: %w", id, err)
	}
	if facts, ok := factsOf(container); ok {
		s.sink.SetContainer(facts)
	}
	return nil
}

func (s *Source) handle(ctx context.Context, store containers.Store, event *events.Envelope) error {
	if event == nil || event.Event == nil {
		return nil
	}
	switch event.Topic {
	case topicCreate:
		var created apievents.ContainerCreate
		if err := proto.Unmarshal(event.Event.GetValue(), &created); err != nil {
			return fmt.Errorf("read its event %s: %w", event.Topic, err)
		}
		return s.lookUp(ctx, store, created.ID)
	case topicDelete:
		var deleted apievents.ContainerDelete
		if err := proto.Unmarshal(event.Event.GetValue(), &deleted); err != nil {
			return fmt.Errorf("read its event %s: %w", event.Topic, err)
		}
		s.sink.DeleteContainer(deleted.ID)
	}
	return nil
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
