// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"slices"

	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/exporter"
)

// Objects are what hints are held against. Those of other namespaces than the
// hints' do no harm.
type Objects struct {
	HPAs        []autoscalingv2.HorizontalPodAutoscaler
	VPAs        []vpav1.VerticalPodAutoscaler
	LimitRanges []corev1.LimitRange
	Quotas      []corev1.ResourceQuota
	// Pods are all pods of the namespaces in PodsKnown, which quotas count.
	Pods []Pod
	// PodsKnown are the namespaces whose pods could be read; of others the pods
	// are taken that hints are shown of.
	PodsKnown []string
}

// Pod is a pod and what a user would edit to change it.
type Pod struct {
	Workload Workload
	*corev1.Pod
}

// Workload names what a user would edit to change pods.
type Workload struct{ Namespace, Kind, Name string }

// WorkloadOf returns the workload of a hint: a pod without a controller is its
// own.
func WorkloadOf(h *exporter.ContainerHint) Workload {
	if h.Workload == "" {
		return Workload{Namespace: h.Namespace, Kind: "Pod", Name: h.Pod}
	}
	return Workload{Namespace: h.Namespace, Kind: h.WorkloadKind, Name: h.Workload}
}

// Findings are what is known of workloads besides the reasons of their hints.
// The zero value is that nothing is.
type Findings struct {
	vertical map[Workload]Vertical
	scaled   map[Workload][]corev1.ResourceName
}

// Vertical returns the VerticalPodAutoscaler of a workload.
func (f Findings) Vertical(of Workload) (v Vertical, ok bool) {
	v, ok = f.vertical[of]
	return v, ok
}

// Scaled says whether a HorizontalPodAutoscaler scales a workload by its use of
// a resource, "cpu" or "memory".
func (f Findings) Scaled(of Workload, resource string) bool {
	return slices.Contains(f.scaled[of], corev1.ResourceName(resource))
}

// Judge adds reasons to the hints of a list and caps their amounts:
//
//   - LimitRanges cap, as the API server refuses pods beyond them;
//   - a ResourceQuota on limits takes a hint to have no limit away, as the API
//     server refuses pods without one;
//   - HorizontalPodAutoscalers and VerticalPodAutoscalers are conflicts that only
//     a person can solve, and so are quotas that the hints do not fit in together:
//     the amounts stay.
func Judge(list *exporter.HintList, found Objects) Findings {
	all := groups(list)
	known := index(&found)
	f := Findings{vertical: map[Workload]Vertical{}, scaled: map[Workload][]corev1.ResourceName{}}
	for _, g := range all {
		// As the API server: a LimitRange gives limits before a quota demands them,
		// and what a quota demands is held against the LimitRanges, as all else.
		g.givenLimits(found.LimitRanges)
		g.demandedLimits(found.Quotas, known)
		g.limitRanges(found.LimitRanges)
		g.vpas(found.VPAs, f)
		g.hpas(found.HPAs, f)
	}
	for i := range found.Quotas {
		judgeQuota(&found.Quotas[i], all, known)
	}
	return f
}

// knownPods are the pods of the namespaces whose pods could be read.
type knownPods struct {
	namespaces []string
	of         map[Workload][]*corev1.Pod
}

func index(found *Objects) knownPods {
	k := knownPods{namespaces: found.PodsKnown, of: map[Workload][]*corev1.Pod{}}
	for _, pod := range found.Pods {
		k.of[pod.Workload] = append(k.of[pod.Workload], pod.Pod)
	}
	return k
}

// group has all hints of a workload, which several pods may have.
type group struct {
	Workload
	hints []*exporter.ContainerHint
}

func groups(list *exporter.HintList) []*group {
	var all []*group
	byWorkload := map[Workload]*group{}
	for i := range list.Hints {
		h := &list.Hints[i]
		key := WorkloadOf(h)
		g := byWorkload[key]
		if g == nil {
			g = &group{Workload: key}
			byWorkload[key] = g
			all = append(all, g)
		}
		g.hints = append(g.hints, h)
	}
	return all
}

// container is what is set for a container of a workload and what would be if its
// hint was followed; nil is not set. Of several pods the one that needs most
// decides, as it does in a patch.
type container struct {
	name                                     string
	requestNow, limitNow, request, limit     *float64
	requestHinted, limitHinted, limitRemoved bool
}

func (g *group) containers(r *resource) []container {
	var all []container
	for _, h := range g.hints {
		amounts, now := r.of(&h.Hint), r.of(&h.Now)
		i := slices.IndexFunc(all, func(c container) bool { return c.name == h.Container })
		if i < 0 {
			all = append(all, container{name: h.Container, requestNow: *now.request, limitNow: *now.limit, limitRemoved: r.removed(h)})
			i = len(all) - 1
		}
		c := &all[i]
		c.request, c.limit = larger(c.request, *amounts.request), larger(c.limit, *amounts.limit)
		c.limitRemoved = c.limitRemoved && r.removed(h)
	}
	for i := range all {
		c := &all[i]
		c.requestHinted, c.limitHinted = c.request != nil, c.limit != nil
		c.limitRemoved = c.limitRemoved && !c.limitHinted
		if c.request == nil {
			c.request = c.requestNow
		}
		if c.limit == nil && !c.limitRemoved {
			c.limit = c.limitNow
		}
		switch {
		case c.request == nil:
			c.request = c.limit // SetDefaults_Pod of the API server
		case c.limitHinted && *c.request > *c.limit:
			c.limit = c.request // of two pods, as in a patch
		}
	}
	return all
}

// say adds a reason to the hints of a container; an empty name is of all.
func (g *group) say(container, code string, r *resource, text string, evidence map[string]float64) {
	for _, h := range g.hints {
		if container == "" || h.Container == container {
			say(h, code, r, text, evidence)
		}
	}
}

func say(h *exporter.ContainerHint, code string, r *resource, text string, evidence map[string]float64) {
	h.Reasons = append(h.Reasons, exporter.HintReason{Code: r.code(code), Resource: string(r.name), Text: text, Evidence: evidence})
}

func larger(a, b *float64) *float64 {
	switch {
	case a == nil:
		return b
	case b == nil || *a >= *b:
		return a
	}
	return b
}
