// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"math"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// tolerance is the change of utilisation that an autoscaler does nothing about
// (--horizontal-pod-autoscaler-tolerance of the controller manager).
const tolerance = 0.1

// utilization is a metric of a HorizontalPodAutoscaler whose denominator is the
// request: of all containers of a pod, or of one of them.
type utilization struct {
	resource  *resource
	container string // empty is all
	target    float64
	current   *int32 // what the autoscaler saw last, in percent
}

// hpas tells of autoscalers that a changed request moves.
func (g *group) hpas(all []autoscalingv2.HorizontalPodAutoscaler, f Findings) {
	for i := range all {
		h := &all[i]
		if ref := h.Spec.ScaleTargetRef; !g.targets(h.Namespace, ref.APIVersion, ref.Kind, ref.Name) {
			continue
		}
		for _, m := range h.Spec.Metrics {
			if name, ok := scaledBy(m); ok && !slices.Contains(f.scaled[g.Workload], name) {
				f.scaled[g.Workload] = append(f.scaled[g.Workload], name)
			}
		}
		for _, u := range utilizations(h) {
			g.hpa(h, u)
		}
	}
}

// scaledBy returns the resource that a metric is, by share of the request or not.
func scaledBy(m autoscalingv2.MetricSpec) (corev1.ResourceName, bool) {
	switch {
	case m.Resource != nil:
		return m.Resource.Name, true
	case m.ContainerResource != nil:
		return m.ContainerResource.Name, true
	}
	return "", false
}

func utilizations(h *autoscalingv2.HorizontalPodAutoscaler) []utilization {
	var all []utilization
	for _, m := range h.Spec.Metrics {
		var name corev1.ResourceName
		var target autoscalingv2.MetricTarget
		u := utilization{}
		switch {
		case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
			name, target = m.Resource.Name, m.Resource.Target
		case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
			name, target, u.container = m.ContainerResource.Name, m.ContainerResource.Target, m.ContainerResource.Container
		}
		if target.Type != autoscalingv2.UtilizationMetricType || target.AverageUtilization == nil {
			continue // an absolute amount: the request is no part of it
		}
		for _, r := range resources() {
			if r.name == name {
				u.resource, u.target = r, float64(*target.AverageUtilization)
				u.current = current(h.Status.CurrentMetrics, m.Type, name, u.container)
				all = append(all, u)
			}
		}
	}
	return all
}

func current(metrics []autoscalingv2.MetricStatus, kind autoscalingv2.MetricSourceType, name corev1.ResourceName, container string) *int32 {
	for _, m := range metrics {
		switch {
		case m.Type != kind:
		case m.Resource != nil && m.Resource.Name == name:
			return m.Resource.Current.AverageUtilization
		case m.ContainerResource != nil && m.ContainerResource.Name == name && m.ContainerResource.Container == container:
			return m.ContainerResource.Current.AverageUtilization
		}
	}
	return nil
}

func (g *group) hpa(h *autoscalingv2.HorizontalPodAutoscaler, u utilization) {
	r := u.resource
	before, after, missing, stillMissing := 0.0, 0.0, "", ""
	var changed []string
	for _, c := range g.containers(r) {
		if u.container != "" && u.container != c.name {
			continue
		}
		if c.requestNow == nil {
			missing = c.name
		} else {
			before += *c.requestNow
		}
		if c.request == nil {
			stillMissing = c.name
		} else {
			after += *c.request
		}
		if c.requestHinted && (c.requestNow == nil || !same(*c.request, *c.requestNow)) {
			changed = append(changed, c.name)
		}
	}
	if len(changed) == 0 || missing == "" && same(before, after) {
		return
	}
	whose := "the pod's request"
	if u.container != "" {
		whose = "the request of container " + u.container
	}
	text := fmt.Sprintf("HorizontalPodAutoscaler %s holds %s use at %s of %s", h.Name, r.word, percent(u.target), whose)
	evidence := map[string]float64{"target_percent": u.target, "request_now_" + r.unit: before, "request_hinted_" + r.unit: after}
	aim := func(request float64) string { return r.near(request * u.target / 100) }
	switch {
	case stillMissing != "":
		text += fmt.Sprintf(", which it cannot, as container %s has no request and no hint for one yet.", stillMissing)
	case missing != "":
		text += fmt.Sprintf(", which it cannot now, as container %s has no request. With the hint it can: %s of %s is %s a pod.", missing, percent(u.target), r.spell(after), aim(after))
	default:
		kept := u.target * before / after
		evidence["kept_target_percent"] = kept
		text += fmt.Sprintf(": now %s, of %s. With the hint it is %s, of %s: pods are added %s. An averageUtilization of %.0f keeps it where it is.",
			aim(before), r.spell(before), aim(after), r.spell(after), sooner(before, after), math.Round(kept))
		text += foreseen(h, u, before/after)
	}
	for _, name := range changed {
		g.say(name, codeHPA, r, text, evidence)
	}
}

func sooner(before, after float64) string {
	if after < before {
		return "sooner"
	}
	return "later"
}

// foreseen tells how many pods the autoscaler would want with other requests,
// by its own rule: current x utilisation / target, rounded up.
func foreseen(h *autoscalingv2.HorizontalPodAutoscaler, u utilization, factor float64) string {
	replicas := float64(h.Status.CurrentReplicas)
	if u.current == nil || replicas == 0 {
		return ""
	}
	would := float64(*u.current) * factor
	wanted := replicas
	if ratio := would / u.target; math.Abs(ratio-1) > tolerance {
		wanted = math.Ceil(replicas*ratio - 1e-9)
	}
	least := int32(1)
	if h.Spec.MinReplicas != nil {
		least = *h.Spec.MinReplicas
	}
	wanted = min(max(wanted, float64(least)), float64(h.Spec.MaxReplicas))
	return fmt.Sprintf(" It sees %d%% now with %.0f pods: that would be %s, for which it wants %.0f pods (%d to %d are allowed).",
		*u.current, replicas, percent(would), wanted, least, h.Spec.MaxReplicas)
}
