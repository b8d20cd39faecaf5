// SPDX-License-Identifier: Apache-2.0

//go:build linux

package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/slicewatch/slicewatch/agent/identity/pods"
)

// agents are those of one run. What they have is counted and not kept.
type agents struct {
	running sync.WaitGroup
	stop    context.CancelFunc
	// known is the number of pods that each was told of, changes the number of
	// times that it was.
	known   []atomic.Int64
	changes atomic.Int64
	// refused counts reports that the API server did not answer or not well.
	refused atomic.Int64
}

func newAgents(ctx context.Context, count int) (*agents, context.Context) {
	ctx, stop := context.WithCancel(ctx)
	return &agents{known: make([]atomic.Int64, count), stop: stop}, ctx
}

// end stops them all and returns when they have.
func (a *agents) end() {
	a.stop()
	a.running.Wait()
}

// complete counts the agents that know as many pods as they should.
func (a *agents) complete(wanted int) int {
	count := 0
	for i := range a.known {
		if a.known[i].Load() >= int64(wanted) {
			count++
		}
	}
	return count
}

// await returns how long it took from started until all of them, and until
// half of them, knew all of their pods.
func (a *agents) await(ctx context.Context, started time.Time, wanted int) (half, all time.Duration, err error) {
	for {
		count := a.complete(wanted)
		if half == 0 && count*2 >= len(a.known) {
			half = time.Since(started)
		}
		if count == len(a.known) {
			return half, time.Since(started), nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("wait for the agents: %d of %d know their pods: %w", count, len(a.known), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sink counts an agent's pods.
type sink struct {
	of    *agents
	index int
	seen  map[string]bool
}

// SetPod implements pods.Sink.
func (s sink) SetPod(pod pods.Pod) {
	s.of.changes.Add(1)
	if !s.seen[pod.UID] {
		s.seen[pod.UID] = true
		s.of.known[s.index].Store(int64(len(s.seen)))
	}
}

// DeletePod implements pods.Sink.
func (s sink) DeletePod(uid string) { delete(s.seen, uid) }

// startFiltered starts agents as the product's are: package pods with the
// product's jitter, each with a connection of its own.
func startFiltered(ctx context.Context, kubeconfigs []string, jitter time.Duration) *agents {
	a, ctx := newAgents(ctx, len(kubeconfigs))
	for i, kubeconfig := range kubeconfigs {
		source := pods.New(pods.Config{
			NodeName: nodeName(i), Kubeconfig: kubeconfig, StartJitter: jitter, Logger: slog.New(slog.DiscardHandler),
			Report: func(up bool, _ string) {
				if !up {
					a.refused.Add(1)
				}
			},
		}, sink{of: a, index: i, seen: map[string]bool{}})
		a.running.Go(func() { source.Run(ctx) })
	}
	return a
}

// startUnfiltered starts agents that follow every pod by an informer, with
// nothing wrong but that: protobuf, and no more kept than names.
func startUnfiltered(ctx context.Context, kubeconfigs []string) (*agents, error) {
	a, ctx := newAgents(ctx, len(kubeconfigs))
	for i, kubeconfig := range kubeconfigs {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, err
		}
		config.ContentType = runtime.ContentTypeProtobuf
		client, err := typedcorev1.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		all := client.Pods(metav1.NamespaceAll)
		informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return all.Watch(ctx, o)
			},
		}, client), &corev1.Pod{}, 0, cache.Indexers{})
		if err := informer.SetTransform(nameOnly); err != nil {
			return nil, err
		}
		_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { a.known[i].Add(1); a.changes.Add(1) },
			UpdateFunc: func(any, any) { a.changes.Add(1) },
		})
		if err != nil {
			return nil, err
		}
		a.running.Go(func() { informer.RunWithContext(ctx) })
	}
	return a, nil
}

func nameOnly(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, ResourceVersion: pod.ResourceVersion}}, nil
	}
	return object, nil
}

// writeKubeconfigs makes a kubeconfig for each agent. client-go shares one
// connection among clients whose TLS settings are the same, and two agents
// never share one: so a remark after the authority's certificate makes all of
// them different.
func writeKubeconfigs(directory string, config *rest.Config, token string, count int) ([]string, error) {
	paths := make([]string, count)
	for i := range paths {
		kubeconfig := clientcmdapi.NewConfig()
		kubeconfig.Clusters["cluster"] = &clientcmdapi.Cluster{
			Server: config.Host, CertificateAuthorityData: fmt.Appendf(nil, "%s\nagent %d\n", config.CAData, i),
		}
		kubeconfig.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token}
		kubeconfig.Contexts["agent"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: "agent"}
		kubeconfig.CurrentContext = "agent"
		paths[i] = filepath.Join(directory, fmt.Sprintf("agent-%d.kubeconfig", i))
		if err := clientcmd.WriteToFile(*kubeconfig, paths[i]); err != nil {
			return nil, fmt.Errorf("write an agent's kubeconfig: %w", err)
		}
	}
	return paths, nil
}
