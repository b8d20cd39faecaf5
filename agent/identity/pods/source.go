// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// How long an unusable kubeconfig or token file is left before it is read
// again: both may be mounted or renewed while the agent runs.
const (
	configRetryMin = time.Second
	configRetryMax = time.Minute
)

// Sink takes the facts. Its methods are called one at a time.
type Sink interface {
	// SetPod is called for every pod of the node and again when it changed.
	SetPod(Pod)
	// DeletePod is called when the API no longer has the pod of that UID.
	DeletePod(uid string)
}

// Config is what a Source needs.
type Config struct {
	// NodeName limits everything to the pods of this node.
	NodeName string
	// Kubeconfig is the path of a kubeconfig; empty means the service account
	// that Kubernetes gives to pods.
	Kubeconfig string
	// NodeMemoryBytes is the node's MemTotal, 0 if unknown.
	NodeMemoryBytes int64
	// StartJitter is the longest time, chosen at random, to wait before the
	// API server is first asked: a DaemonSet's agents may all start at once.
	StartJitter time.Duration
	Logger      *slog.Logger
	// Report is called when the API server begins to answer or stops to, with
	// the reason and the mend. It may be called from several goroutines.
	Report func(up bool, reason string)
}

// Source follows the pods of a node.
type Source struct {
	cfg  Config
	sink Sink
	load func() (*rest.Config, error)

	mu       sync.Mutex
	client   *client // nil until there is one
	synced   bool
	watching bool
	reason   string // why the API server does not answer, or empty
}

// New returns a source that hands its facts to sink once it runs.
func New(cfg Config, sink Sink) *Source {
	s := &Source{cfg: cfg, sink: sink}
	s.load = s.loadConfig
	return s
}

// Run follows the pods until ctx ends. Nothing that goes wrong ends it before:
// it says so through Report and tries again, and what the sink has stays.
func (s *Source) Run(ctx context.Context) {
	if s.cfg.NodeName == "" {
		// The field selector would match every pod that is not scheduled yet.
		s.cfg.Report(false, "the name of this node is unknown: set --node.name, or NODE_NAME from spec.nodeName")
		<-ctx.Done()
		return
	}
	if !s.connect(ctx) || !sleep(ctx, jitter(s.cfg.StartJitter)) {
		<-ctx.Done()
		return
	}
	defer func() { s.client.closeIdle() }()
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(s.cfg.Logger.Handler()))
	if err := s.follow(ctx, s.listWatch()); err != nil {
		s.cfg.Report(false, fmt.Sprintf("the pod informer does not start, which is a fault of this program: %v", err))
	}
	<-ctx.Done()
}

// connect makes the client of the API server, which it does not ask anything
// yet. It returns false when there is no way to make one or ctx ended first.
func (s *Source) connect(ctx context.Context) bool {
	for wait := configRetryMin; ; wait = min(2*wait, configRetryMax) {
		restConfig, err := s.load()
		if err == nil {
			if s.client, err = newClient(restConfig); err == nil {
				return true
			}
		}
		s.cfg.Report(false, explainConfig(err, s.cfg.Kubeconfig))
		// The environment, which says where the API server is, never changes.
		if errors.Is(err, rest.ErrNotInCluster) || !sleep(ctx, wait) {
			return false
		}
	}
}

func (s *Source) loadConfig() (*rest.Config, error) {
	if s.cfg.Kubeconfig == "" {
		return rest.InClusterConfig()
	}
	rules := clientcmd.ClientConfigLoadingRules{ExplicitPath: s.cfg.Kubeconfig}
	kubeconfig, err := rules.Load()
	if err != nil {
		return nil, err
	}
	restConfig, err := clientcmd.NewDefaultClientConfig(*kubeconfig, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, contentError{err}
	}
	return restConfig, nil
}

// follow runs the informer until ctx ends, or returns what keeps it from
// starting at all.
func (s *Source) follow(ctx context.Context, lw cache.ListerWatcher) error {
	informer := cache.NewSharedIndexInformerWithOptions(lw, &corev1.Pod{},
		cache.SharedIndexInformerOptions{ObjectDescription: "pods of this node"})
	if err := informer.SetTransform(strip); err != nil {
		return err
	}
	// What can go wrong is reported by the ListWatch itself, which also sees
	// the errors that the informer keeps to itself and retries.
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(4).Info("The watch on the pods ended", "err", err)
	}); err != nil {
		return err
	}
	logger := klog.FromContext(ctx)
	handler, err := informer.AddEventHandlerWithOptions(cache.ResourceEventHandlerFuncs{
		AddFunc: s.set, UpdateFunc: s.update, DeleteFunc: s.deleted,
	}, cache.HandlerOptions{Logger: &logger})
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		select {
		case <-handler.HasSyncedChecker().Done():
			s.health(func() { s.synced = true })
		case <-ctx.Done():
		}
	})
	informer.RunWithContext(ctx)
	return nil
}

func (s *Source) set(obj any) {
	if pod, ok := obj.(*corev1.Pod); ok {
		s.sink.SetPod(factsOf(pod, s.cfg.NodeMemoryBytes))
	}
}

// update is also what the informer calls when a pod was deleted and another
// one of the same name created while it was not watching.
func (s *Source) update(before, now any) {
	if was, ok := before.(*corev1.Pod); ok {
		if is, ok := now.(*corev1.Pod); ok && was.UID != is.UID {
			s.deleted(was)
		}
	}
	s.set(now)
}

func (s *Source) deleted(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		s.sink.DeletePod(string(pod.UID))
	}
}

// answered is called with each error of the API server and each watch that it
// began.
func (s *Source) answered(ctx context.Context, err error, host string) {
	if ctx.Err() != nil {
		return
	}
	s.health(func() {
		s.watching, s.reason = err == nil, ""
		if err != nil {
			s.reason = explain(err, target{host: host, kubeconfig: s.cfg.Kubeconfig})
		}
	})
}

// health changes the state and reports it. The source is up once it has all
// pods and as long as it watches them.
func (s *Source) health(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	switch {
	case s.reason != "":
		s.cfg.Report(false, s.reason)
	case s.synced && s.watching:
		s.cfg.Report(true, "")
	}
}

func jitter(longest time.Duration) time.Duration {
	if longest <= 0 {
		return 0
	}
	return rand.N(longest)
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
