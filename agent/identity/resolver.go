// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"

	"k8s.io/klog/v2"
)

// Mode says whether a source is used.
type Mode string

// The modes.
const (
	Auto Mode = "auto" // use it as soon and as long as it is there
	Off  Mode = "off"
)

// The names of the sources, as in slicewatch_source_up.
const (
	sourceKubernetes = "kubernetes"
	sourceContainerd = "containerd"
)

// startJitter is the longest time that an agent waits before it first asks the
// API server, so that a fleet that starts at once does not ask at once.
const startJitter = 3 * time.Second

// Config is what a Resolver needs.
type Config struct {
	// NodeName is this node's name in Kubernetes.
	NodeName   string
	Kubernetes Mode
	// Kubeconfig is the path of a kubeconfig; empty means the service account
	// that Kubernetes gives to pods.
	Kubeconfig string
	Containerd Mode
	// ContainerdAddress is the path of containerd's socket.
	ContainerdAddress string
	// NodeMemoryBytes is the node's MemTotal, which the expected oom_score_adj
	// of Burstable containers depends on; 0 if unknown.
	NodeMemoryBytes int64
	Logger          *slog.Logger
}

// Resolver answers who a cgroup is. Its methods may be called from several
// goroutines; those that take a cgroup allocate nothing once it is known.
//
// It keeps an entry for each cgroup that it was asked for, until Forget: their
// number is bounded by the caller.
type Resolver struct {
	logger     *slog.Logger
	pods       *pods.Source       // nil if off
	containers *containers.Source // nil if off
	changes    chan struct{}

	mu         sync.Mutex
	facts      facts
	podEntries map[string]*podEntry       // by the UID in the path
	entries    map[string]*containerEntry // by container id
	sources    []snapshot.Source          // replaced, never changed
}

// podEntry is a pod whose cgroup, or a container's cgroup, was asked for.
type podEntry struct {
	uid   string // as in the path
	asked bool   // the pod's own cgroup was asked for
	// facts are the newest from the API; they stay when the API drops the pod.
	facts      *pods.Pod
	identity   *snapshot.PodIdentity
	containers []*containerEntry
}

// containerEntry is a container whose cgroup was asked for.
type containerEntry struct {
	id  string
	pod *podEntry
	// runtime is what containerd said; it stays when containerd drops the
	// container. nil if it said nothing.
	runtime      *containers.Container
	identity     *snapshot.ContainerIdentity
	sandbox      bool
	sandboxKnown bool
}

// New returns a Resolver that knows nothing until it runs.
func New(cfg Config) (*Resolver, error) {
	for _, mode := range []Mode{cfg.Kubernetes, cfg.Containerd} {
		if mode != Auto && mode != Off {
			return nil, fmt.Errorf("identity source mode %q: want %q or %q", mode, Auto, Off)
		}
	}
	if cfg.Containerd == Auto && cfg.ContainerdAddress == "" {
		return nil, errors.New("the path of containerd's socket is empty: set --containerd.address, or --containerd=off")
	}
	r := &Resolver{
		logger:     cfg.Logger,
		changes:    make(chan struct{}, 1),
		facts:      newFacts(),
		podEntries: map[string]*podEntry{},
		entries:    map[string]*containerEntry{},
	}
	if cfg.Kubernetes == Auto {
		r.addSource(sourceKubernetes)
		r.pods = pods.New(pods.Config{
			NodeName: cfg.NodeName, Kubeconfig: cfg.Kubeconfig, NodeMemoryBytes: cfg.NodeMemoryBytes,
			StartJitter: startJitter, Logger: cfg.Logger,
			Report: func(up bool, reason string) { r.report(sourceKubernetes, up, reason) },
		}, podSink{r})
	}
	if cfg.Containerd == Auto {
		r.addSource(sourceContainerd)
		r.containers = containers.New(containers.Config{
			Address: cfg.ContainerdAddress, Logger: cfg.Logger,
			Report: func(up bool, reason string) { r.report(sourceContainerd, up, reason) },
		}, containerSink{r})
	}
	return r, nil
}

// Name is the service's name in messages.
func (r *Resolver) Name() string { return "identity" }

// Run follows the sources until ctx ends, and then returns nil. A source that
// fails is tried again and never ends it.
func (r *Resolver) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	if r.pods != nil {
		running.Go(func() { r.pods.Run(ctx) })
	}
	if r.containers != nil {
		running.Go(func() { r.containers.Run(ctx) })
	}
	ticker := time.NewTicker(keepGone / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			r.mu.Lock()
			r.facts.expire(now)
			r.mu.Unlock()
		}
	}
}

// Container returns who a container is, never nil. The pointer stays the same
// until the identity changes, and what it points to never changes. While the
// names are unknown, Namespace is empty, Pod is the pod UID of the path, Name
// the first 12 digits of the id, and Known false. A pod's sandbox has an empty
// Name once it is known.
func (r *Resolver) Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entry(c).identity
}

// Sandbox says whether a container is a pod's sandbox, and whether that is
// known. By the API alone only containers are known: a sandbox has no status
// there, and neither has a container that has just started.
func (r *Resolver) Sandbox(c *cgroupfs.Cgroup) (sandbox, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entry(c)
	return e.sandbox, e.sandboxKnown
}

// Pod returns who a pod is, never nil; the pointer is as Container's. While
// the names are unknown, Name and UID are the UID of the path.
func (r *Resolver) Pod(c *cgroupfs.Cgroup) *snapshot.PodIdentity {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.podEntry(c.PodUID)
	p.asked = true
	return p.identity
}

// Forget drops what is kept of a cgroup at LevelPod or LevelContainer that is
// gone and will not be asked for again.
func (r *Resolver) Forget(c *cgroupfs.Cgroup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.podEntries[c.PodUID]
	switch c.Level {
	case cgroupfs.LevelPod:
		if p != nil {
			p.asked = false
		}
	case cgroupfs.LevelContainer:
		e := r.entries[c.ContainerID]
		if e == nil {
			return
		}
		p = e.pod
		p.containers = slices.DeleteFunc(p.containers, func(other *containerEntry) bool { return other == e })
		delete(r.entries, c.ContainerID)
	}
	if p != nil && !p.asked && len(p.containers) == 0 {
		delete(r.podEntries, p.uid)
	}
}

// Changes receives when some identity may have changed. Several changes may
// be one receive.
func (r *Resolver) Changes() <-chan struct{} { return r.changes }

// Sources returns the state of each source that is not switched off. The
// caller must not change it.
func (r *Resolver) Sources() []snapshot.Source {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources
}

func (r *Resolver) entry(c *cgroupfs.Cgroup) *containerEntry {
	if e, ok := r.entries[c.ContainerID]; ok {
		return e
	}
	p := r.podEntry(c.PodUID)
	e := &containerEntry{id: c.ContainerID, pod: p, identity: &snapshot.ContainerIdentity{
		Pod: c.PodUID, PodUID: c.PodUID, Name: c.ContainerID[:min(12, len(c.ContainerID))],
	}}
	p.containers = append(p.containers, e)
	r.entries[c.ContainerID] = e
	if r.containers != nil && r.facts.containers[c.ContainerID] == nil {
		// Its creation was before the agent's, or its event was missed.
		r.containers.Lookup(c.ContainerID)
	}
	r.refresh(p)
	return e
}

func (r *Resolver) podEntry(uid string) *podEntry {
	if p, ok := r.podEntries[uid]; ok {
		return p
	}
	p := &podEntry{uid: uid, identity: &snapshot.PodIdentity{Name: uid, UID: uid}}
	r.podEntries[uid] = p
	r.refresh(p)
	return p
}

// HandOverGlobalLog makes the few lines that client-go logs through its global
// logger go to logger. It is for the whole process: main calls it once.
func HandOverGlobalLog(logger *slog.Logger) { klog.SetSlogLogger(logger) }
