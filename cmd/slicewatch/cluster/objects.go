// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/agent/identity/kubelet"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// pageSize is how many pods are asked for at once, as kubectl does.
const pageSize = 500

// kind is one kind of object that is read of every namespace.
type kind struct {
	group, resource, without string
	// optional kinds need not exist in the cluster.
	optional bool
	read     func(ctx context.Context, namespace string) error
}

// Objects reads what there is in the namespaces to hold hints against. What the
// user may not read is left out and returned as missing. It fails where the API
// server cannot be asked at all.
func (c *Cluster) Objects(ctx context.Context, namespaces []string) (conflicts.Objects, []Missing, error) {
	r := reader{cluster: c}
	missing, err := r.readAll(ctx, namespaces, r.kinds())
	if err != nil {
		return conflicts.Objects{}, nil, err
	}
	// Pods are many: only quotas count them.
	var counted []string
	for _, q := range r.found.Quotas {
		if !slices.Contains(counted, q.Namespace) {
			counted = append(counted, q.Namespace)
		}
	}
	more, err := r.readAll(ctx, counted, []kind{{
		resource: "pods", without: "quotas are held only against the pods of the agents that were asked", read: r.pods,
	}})
	if err != nil {
		return conflicts.Objects{}, nil, err
	}
	r.sort()
	return r.found, append(missing, more...), nil
}

type reader struct {
	cluster *Cluster
	mu      sync.Mutex // guards found, into which several requests write
	found   conflicts.Objects
}

func (r *reader) kinds() []kind {
	return []kind{
		{group: "autoscaling", resource: "horizontalpodautoscalers", without: "what a hint does to an autoscaler is not told", read: r.hpas},
		{group: "autoscaling.k8s.io", resource: "verticalpodautoscalers", without: "conflicts with one are not told", optional: true, read: r.vpas},
		{resource: "limitranges", without: "hints are not capped by them", read: r.limitRanges},
		{resource: "resourcequotas", without: "whether hints fit them is not told", read: r.quotas},
	}
}

func (r *reader) readAll(ctx context.Context, namespaces []string, kinds []kind) ([]Missing, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	denied := make([][]string, len(kinds))
	for i, k := range kinds {
		for _, namespace := range namespaces {
			group.Go(func() error {
				err := k.read(ctx, namespace)
				switch {
				case err == nil || k.optional && apierrors.IsNotFound(err):
					return nil
				case apierrors.IsForbidden(err):
					mu.Lock()
					defer mu.Unlock()
					denied[i] = append(denied[i], namespace)
					return nil
				}
				return r.cluster.explain("read the "+k.resource+" of "+namespace, err)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Missing
	for i, k := range kinds {
		if len(denied[i]) > 0 {
			slices.Sort(denied[i])
			missing = append(missing, Missing{Group: k.group, Resource: k.resource, Verb: "list", Namespaces: denied[i], Without: k.without})
		}
	}
	return missing, nil
}

func (r *reader) add(change func(*conflicts.Objects)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.found)
	return nil
}

func (r *reader) hpas(ctx context.Context, namespace string) error {
	list, err := r.cluster.autoscaling.HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return r.add(func(o *conflicts.Objects) { o.HPAs = append(o.HPAs, list.Items...) })
}

func (r *reader) vpas(ctx context.Context, namespace string) error {
	list, err := r.cluster.vpas.VerticalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return r.add(func(o *conflicts.Objects) { o.VPAs = append(o.VPAs, list.Items...) })
}

func (r *reader) limitRanges(ctx context.Context, namespace string) error {
	list, err := r.cluster.core.LimitRanges(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return r.add(func(o *conflicts.Objects) { o.LimitRanges = append(o.LimitRanges, list.Items...) })
}

func (r *reader) quotas(ctx context.Context, namespace string) error {
	list, err := r.cluster.core.ResourceQuotas(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return r.add(func(o *conflicts.Objects) { o.Quotas = append(o.Quotas, list.Items...) })
}

func (r *reader) pods(ctx context.Context, namespace string) error {
	var found []conflicts.Pod
	err := r.cluster.eachPod(ctx, namespace, metav1.ListOptions{}, func(pod *corev1.Pod) {
		of, name := kubelet.Workload(pod)
		found = append(found, conflicts.Pod{Workload: conflicts.Workload{Namespace: namespace, Kind: of, Name: name}, Pod: pod})
	})
	if err != nil {
		return err
	}
	return r.add(func(o *conflicts.Objects) {
		o.Pods, o.PodsKnown = append(o.Pods, found...), append(o.PodsKnown, namespace)
	})
}

// eachPod calls a function for each pod, page by page.
func (c *Cluster) eachPod(ctx context.Context, namespace string, options metav1.ListOptions, take func(*corev1.Pod)) error {
	options.Limit = pageSize
	for {
		list, err := c.core.Pods(namespace).List(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			take(&list.Items[i])
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}

// sort makes the order of reasons the same each time: answers come in any order.
func (r *reader) sort() {
	sortByName(r.found.HPAs, func(o *autoscalingv2.HorizontalPodAutoscaler) metav1.Object { return o })
	sortByName(r.found.VPAs, func(o *vpav1.VerticalPodAutoscaler) metav1.Object { return o })
	sortByName(r.found.LimitRanges, func(o *corev1.LimitRange) metav1.Object { return o })
	sortByName(r.found.Quotas, func(o *corev1.ResourceQuota) metav1.Object { return o })
	slices.Sort(r.found.PodsKnown)
}

func sortByName[T any](all []T, object func(*T) metav1.Object) {
	slices.SortFunc(all, func(a, b T) int {
		x, y := object(&a), object(&b)
		return cmp.Or(strings.Compare(x.GetNamespace(), y.GetNamespace()), strings.Compare(x.GetName(), y.GetName()))
	})
}
