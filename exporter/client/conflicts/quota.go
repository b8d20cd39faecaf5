// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/exporter"
)

// demandedLimits gives a limit to hints to have none where a quota counts
// limits: the API server refuses pods without what their quota counts
// (enforcePodContainerConstraints in pkg/quota/v1/evaluator/core/pods.go).
func (g *group) demandedLimits(quotas []corev1.ResourceQuota, known knownPods) {
	cpu := resources()[0] // of memory no hint takes the limit away
	for i := range quotas {
		q := &quotas[i]
		if _, counted := q.Spec.Hard[corev1.ResourceLimitsCPU]; !counted || q.Namespace != g.Namespace || g.exempt(q, known) {
			continue
		}
		for _, h := range g.hints {
			given := larger(*cpu.of(&h.Hint).request, *cpu.of(&h.Now).limit)
			if !cpu.removed(h) || given == nil {
				continue
			}
			h.NoCPULimit, h.Hint.CPULimitCores = false, new(*given)
			say(h, codeQuota, cpu, fmt.Sprintf("ResourceQuota %s counts limits.cpu, so that each container must have a CPU limit: the hint is not to have none but %s.", q.Name, cpu.spell(*given)),
				map[string]float64{"given_" + cpu.unit: *given})
		}
	}
}

// exempt says whether a quota is known to be of other pods than the workload's.
func (g *group) exempt(q *corev1.ResourceQuota, known knownPods) bool {
	pods := known.of[g.Workload]
	return len(pods) > 0 && !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return ofScopes(q, pod) })
}

// counted is an entry of a quota: what it counts of a resource.
type counted struct {
	name corev1.ResourceName
	*resource
	limits bool
}

func (c *counted) word() string {
	if c.limits {
		return "limit"
	}
	return "request"
}

func counts(hard corev1.ResourceList) []counted {
	var all []counted
	for _, r := range resources() {
		limit := "limits." + r.name
		request := "requests." + r.name
		if _, ok := hard[request]; !ok {
			request = r.name // its old name
		}
		for _, c := range []counted{{name: request, resource: r}, {name: limit, resource: r, limits: true}} {
			if _, ok := hard[c.name]; ok {
				all = append(all, c)
			}
		}
	}
	return all
}

// growth is by how much a quota would be used more for a container of a workload.
type growth struct {
	group     *group
	container string
	pods      int
	each, sum float64
}

// judgeQuota tells of hints that do not fit a quota together.
func judgeQuota(q *corev1.ResourceQuota, all []*group, known knownPods) {
	for _, c := range counts(q.Spec.Hard) {
		hard, _ := quantity(q.Spec.Hard, c.name)
		used, counted := quantity(q.Status.Used, c.name)
		if !counted {
			continue // the quota was made just now
		}
		var changes []growth
		total := 0.0
		for _, g := range all {
			if g.Namespace != q.Namespace {
				continue
			}
			for _, change := range g.growth(&c, q, known) {
				total += change.sum
				changes = append(changes, change)
			}
		}
		if excess := used + total - hard; total > 0 && excess > hard*1e-9 {
			c.sayExcess(q.Name, changes, hard, used, total)
		}
	}
}

func (c *counted) sayExcess(quota string, changes []growth, hard, used, total float64) {
	evidence := map[string]float64{"quota_hard_" + c.unit: hard, "quota_used_" + c.unit: used, "quota_change_" + c.unit: total}
	for _, change := range changes {
		if change.sum <= 0 {
			continue
		}
		alone := 0.0
		for _, other := range changes {
			if other.group == change.group {
				alone += other.sum
			}
		}
		fits := "those of this workload alone would fit"
		if over := used + alone - hard; over > hard*1e-9 {
			fits = fmt.Sprintf("those of this workload alone %s too much", c.spell(over))
		}
		change.group.say(change.container, codeQuota, c.resource,
			fmt.Sprintf("ResourceQuota %s has %s of %s, %s of them used. All hints shown add %s (the %s of this container %s in %s): %s too much, pods would be refused; %s.",
				quota, c.spell(hard), c.name, c.spell(used), c.spell(total), c.word(), c.near(change.each), inPods(change.pods), c.spell(used+total-hard), fits), evidence)
	}
}

func inPods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("each of %d pods", n)
}

// growth returns what each container of the workload adds to a quota's use.
func (g *group) growth(c *counted, q *corev1.ResourceQuota, known knownPods) []growth {
	var all []growth
	for _, one := range g.containers(c.resource) {
		hinted, removed, after := one.requestHinted, false, one.request
		if c.limits {
			hinted, removed, after = one.limitHinted, one.limitRemoved, one.limit
		}
		if !hinted && !removed {
			continue
		}
		to := 0.0
		if !removed {
			to = *after
		}
		change := growth{group: g, container: one.name}
		for _, now := range g.setNow(c, one.name, q, known) {
			change.pods, change.sum = change.pods+1, change.sum+to-now
		}
		if change.pods > 0 {
			change.each = change.sum / float64(change.pods)
			all = append(all, change)
		}
	}
	return all
}

// setNow returns what each of the workload's pods has set for a container: by the
// API where it could be read, else by what the agents say.
func (g *group) setNow(c *counted, container string, q *corev1.ResourceQuota, known knownPods) []float64 {
	var now []float64
	if !slices.Contains(known.namespaces, g.Namespace) {
		for _, h := range g.hints {
			if h.Container == container {
				now = append(now, c.nowOf(h))
			}
		}
		return now
	}
	for _, pod := range known.of[g.Workload] {
		if !inScope(q, pod) {
			continue
		}
		for _, spec := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			if spec.Name != container {
				continue
			}
			list := spec.Resources.Requests
			if c.limits {
				list = spec.Resources.Limits
			}
			v, _ := quantity(list, c.resource.name)
			now = append(now, v)
		}
	}
	return now
}

func (c *counted) nowOf(h *exporter.ContainerHint) float64 {
	now := c.of(&h.Now)
	v := *now.request
	if c.limits {
		v = *now.limit
	}
	if v == nil {
		return 0
	}
	return *v
}
