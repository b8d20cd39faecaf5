// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"math"
	"slices"

	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/slicewatch/slicewatch/exporter"
)

// Vertical is a VerticalPodAutoscaler that targets a workload already.
type Vertical struct {
	Name string
	vpa  *vpav1.VerticalPodAutoscaler
}

// Bounded returns the autoscaler's spec, of which JSON is what the API takes, with
// the hinted request and limit of each container as its bounds. All else stays:
// also containers and resources that the autoscaler does not set, and those that a
// HorizontalPodAutoscaler scales by. It is false where no bound is set.
func (f Findings) Bounded(v Vertical, hints []exporter.ContainerHint) (spec any, ok bool) {
	out := v.vpa.Spec.DeepCopy()
	for i := range hints {
		h := &hints[i]
		policy := policyOf(v.vpa, h.Container)
		policy = *policy.DeepCopy()
		policy.ContainerName = h.Container
		changed := false
		for _, r := range resources() {
			if controls(&policy, r) && !f.Scaled(WorkloadOf(h), string(r.name)) {
				changed = bound(&policy, r, r.of(&h.Hint)) || changed
			}
		}
		if !changed {
			continue
		}
		ok = true
		if out.ResourcePolicy == nil {
			out.ResourcePolicy = &vpav1.PodResourcePolicy{}
		}
		all := &out.ResourcePolicy.ContainerPolicies
		at := slices.IndexFunc(*all, func(p vpav1.ContainerResourcePolicy) bool { return p.ContainerName == h.Container })
		if at < 0 {
			*all = append(*all, policy)
		} else {
			(*all)[at] = policy
		}
	}
	return out, ok
}

// bound sets the bounds of a resource. One that is there already gives way where
// the least would be above the most otherwise.
func bound(policy *vpav1.ContainerResourcePolicy, r *resource, hint amounts) bool {
	least, most := *hint.request, *hint.limit
	if least == nil && most == nil {
		return false
	}
	if is, ok := quantity(policy.MinAllowed, r.name); ok && least == nil && is > *most {
		least = most
	}
	if is, ok := quantity(policy.MaxAllowed, r.name); ok && most == nil && is < *least {
		most = least
	}
	for _, one := range []struct {
		list *corev1.ResourceList
		v    *float64
	}{{&policy.MinAllowed, least}, {&policy.MaxAllowed, most}} {
		if one.v == nil {
			continue
		}
		if *one.list == nil {
			*one.list = corev1.ResourceList{}
		}
		(*one.list)[r.name] = r.quantity(*one.v)
	}
	return true
}

// quantity returns an amount as the API has it.
func (r *resource) quantity(v float64) apiresource.Quantity {
	if r.name == corev1.ResourceCPU {
		return *apiresource.NewMilliQuantity(int64(math.Round(v*1000)), apiresource.DecimalSI)
	}
	return *apiresource.NewQuantity(int64(math.Ceil(v)), apiresource.BinarySI)
}
