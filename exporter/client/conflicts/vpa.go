// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"slices"

	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// vpas tells of VerticalPodAutoscalers that set the same amounts as a hint.
func (g *group) vpas(all []vpav1.VerticalPodAutoscaler, f Findings) {
	for i := range all {
		v := &all[i]
		if ref := v.Spec.TargetRef; ref == nil || !g.targets(v.Namespace, ref.APIVersion, ref.Kind, ref.Name) {
			continue
		}
		// Without a mode it is the API's default.
		mode := vpav1.UpdateModeRecreate
		if p := v.Spec.UpdatePolicy; p != nil && p.UpdateMode != nil {
			mode = *p.UpdateMode
		}
		f.vertical[g.Workload] = Vertical{Name: v.Name, vpa: v}
		if mode == vpav1.UpdateModeOff {
			continue // it only recommends
		}
		for _, r := range resources() {
			for _, c := range g.containers(r) {
				if c.requestHinted || c.limitHinted || c.limitRemoved {
					g.vpa(v, mode, r, &c)
				}
			}
		}
	}
}

func (g *group) vpa(v *vpav1.VerticalPodAutoscaler, mode vpav1.UpdateMode, r *resource, c *container) {
	policy := policyOf(v, c.name)
	if !controls(&policy, r) {
		return
	}
	sets := "the " + r.word + " request of this container, and its limit in proportion"
	if policy.ControlledValues != nil && *policy.ControlledValues == vpav1.ContainerControlledValuesRequestsOnly {
		sets = "the " + r.word + " request of this container"
		if !c.requestHinted {
			return
		}
	}
	evidence := map[string]float64{}
	aim := ", with no recommendation yet"
	if v.Status.Recommendation != nil {
		for _, one := range v.Status.Recommendation.ContainerRecommendations {
			if target, ok := quantity(one.Target, r.name); ok && one.ContainerName == c.name {
				aim, evidence["vpa_target_"+r.unit] = ", now to "+r.spell(target), target
			}
		}
	}
	hinted := "no limit"
	switch {
	case c.requestHinted:
		hinted = r.spell(*c.request)
		evidence["request_hinted_"+r.unit] = *c.request
	case c.limitHinted:
		hinted = "limit of " + r.spell(*c.limit)
	}
	text := fmt.Sprintf("VerticalPodAutoscaler %s (updateMode %s) sets %s%s: the hint's %s would not stay. Do not apply both: take the container out of it (mode: \"Off\" in its containerPolicies), or give it the bounds of -o vpa.",
		v.Name, mode, sets, aim, hinted)
	g.say(c.name, codeVPA, r, text, evidence)
}

// controls says whether an autoscaler sets a resource of the containers of a policy.
func controls(policy *vpav1.ContainerResourcePolicy, r *resource) bool {
	return (policy.Mode == nil || *policy.Mode != vpav1.ContainerScalingModeOff) &&
		(policy.ControlledResources == nil || slices.Contains(*policy.ControlledResources, r.name))
}

// policyOf returns the policy of a container: its own, else that of all others.
func policyOf(v *vpav1.VerticalPodAutoscaler, container string) vpav1.ContainerResourcePolicy {
	var policy vpav1.ContainerResourcePolicy
	if v.Spec.ResourcePolicy == nil {
		return policy
	}
	for _, p := range v.Spec.ResourcePolicy.ContainerPolicies {
		if p.ContainerName == container {
			return p
		}
		if p.ContainerName == vpav1.DefaultContainerResourcePolicy {
			policy = p
		}
	}
	return policy
}
