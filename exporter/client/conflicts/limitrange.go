// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/exporter"
)

// givenLimits gives a limit to hints to have none where a LimitRange lets no
// container be without one.
func (g *group) givenLimits(ranges []corev1.LimitRange) {
	g.eachBounds(ranges, corev1.LimitTypeContainer, func(b *bounds) {
		for _, h := range g.hints {
			b.noLimit(h)
		}
	})
}

// limitRanges keeps hints within the namespace's LimitRanges, by what the API
// server checks when a pod is made (plugin/pkg/admission/limitranger): first each
// container, so that a pod's sums are of what its containers will have.
func (g *group) limitRanges(ranges []corev1.LimitRange) {
	g.eachBounds(ranges, corev1.LimitTypeContainer, func(b *bounds) {
		for _, h := range g.hints {
			b.container(h)
		}
	})
	g.eachBounds(ranges, corev1.LimitTypePod, func(b *bounds) { b.pod(g) })
}

func (g *group) eachBounds(ranges []corev1.LimitRange, of corev1.LimitType, hold func(*bounds)) {
	for i := range ranges {
		if ranges[i].Namespace != g.Namespace {
			continue
		}
		for j := range ranges[i].Spec.Limits {
			item := &ranges[i].Spec.Limits[j]
			if item.Type != of {
				continue
			}
			for _, r := range resources() {
				hold(new(newBounds(ranges[i].Name, item, r)))
			}
		}
	}
}

// bounds are what an item of a LimitRange says of a resource; nil says nothing.
type bounds struct {
	*resource
	name                       string
	least, most, ratio, limits *float64 // limits: of containers without one
}

// newBounds returns what an item says of a resource.
func newBounds(name string, item *corev1.LimitRangeItem, r *resource) bounds {
	get := func(list corev1.ResourceList) *float64 {
		if v, ok := quantity(list, r.name); ok {
			return &v
		}
		return nil
	}
	return bounds{resource: r, name: name, least: get(item.Min), most: get(item.Max), ratio: get(item.MaxLimitRequestRatio), limits: get(item.Default)}
}

func (b *bounds) say(h *exporter.ContainerHint, text string, evidence map[string]float64) {
	say(h, codeLimitRange, b.resource, "LimitRange "+b.name+" "+text, evidence)
}

func (b *bounds) container(h *exporter.ContainerHint) {
	b.max(h)
	b.min(h)
	b.ratioOf(h)
}

// noLimit gives a limit to a hint to have none: a container without one gets the
// LimitRange's default, which is its max where it has no other, and a ratio refuses
// a container that has neither.
func (b *bounds) noLimit(h *exporter.ContainerHint) {
	if !b.removed(h) {
		return
	}
	request := b.requestOf(h)
	var given float64
	var text string
	switch {
	case b.most != nil:
		given = *b.most
		text = fmt.Sprintf("does not let a container be without a CPU limit: the hint is the highest that it allows, %s.", b.spell(given))
	case b.limits != nil:
		given = *larger(b.limits, request)
	case b.ratio != nil && request != nil:
		// Where it needs more, ratioOf raises the request.
		given = max(b.floor(*b.ratio**request), b.up(b.needed(h)))
		text = fmt.Sprintf("allows a limit of at most %s x the request, for which a container needs a CPU limit: the hint is %s.", b.times(), b.spell(given))
	default:
		return
	}
	h.NoCPULimit, h.Hint.CPULimitCores = false, new(given)
	if b.limits != nil {
		text = fmt.Sprintf("gives a container without a CPU limit one of %s: the hint is %s.", b.spell(*b.limits), b.spell(given))
	}
	b.say(h, text, map[string]float64{"given_" + b.unit: given})
}

// requestOf returns the request that a container has with its hint; nil is none.
func (b *bounds) requestOf(h *exporter.ContainerHint) *float64 {
	if request := *b.of(&h.Hint).request; request != nil {
		return request
	}
	return *b.of(&h.Now).request
}

// times spells the ratio.
func (b *bounds) times() string { return strconv.FormatFloat(*b.ratio, 'g', 4, 64) }

func (b *bounds) max(h *exporter.ContainerHint) {
	if b.most == nil {
		return
	}
	hint, needed := b.of(&h.Hint), b.needed(h)
	limit, request := *hint.limit, *hint.request
	over := func(v *float64) bool { return v != nil && *v > *b.most && !same(*v, *b.most) }
	var what string
	switch {
	case over(limit) && over(request):
		what = fmt.Sprintf("the request of %s and the limit of %s are", b.spell(*request), b.spell(*limit))
	case over(limit):
		what = fmt.Sprintf("the limit of %s is", b.spell(*limit))
	case over(request):
		what = fmt.Sprintf("the request of %s is", b.spell(*request))
	default:
		return
	}
	evidence := map[string]float64{"max_" + b.unit: *b.most}
	for name, v := range map[string]**float64{"uncapped_limit_": hint.limit, "uncapped_request_": hint.request} {
		if over(*v) {
			evidence[name+b.unit] = **v
			*v = new(*b.most)
		}
	}
	text := fmt.Sprintf("allows a container at most %s of %s: %s capped there.", b.spell(*b.most), b.word, what)
	if needed > *b.most && !same(needed, *b.most) {
		text += fmt.Sprintf(" It needs a limit of %s: have the LimitRange raised.", b.spell(needed))
	}
	b.say(h, text, evidence)
}

func (b *bounds) min(h *exporter.ContainerHint) {
	if b.least == nil {
		return
	}
	hint, evidence := b.of(&h.Hint), map[string]float64{"min_" + b.unit: *b.least}
	if *hint.request == nil && *hint.limit == nil {
		return
	}
	var raised []string
	for _, one := range []struct {
		name string
		is   *float64
		to   **float64
	}{{"request", b.requestOf(h), hint.request}, {"limit", *hint.limit, hint.limit}} {
		if one.is == nil || *one.is >= *b.least {
			continue
		}
		raised = append(raised, fmt.Sprintf("the %s of %s", one.name, b.spell(*one.is)))
		evidence[one.name+"_"+b.unit] = *one.is
		*one.to = new(*b.least)
	}
	switch len(raised) {
	case 1:
		b.say(h, fmt.Sprintf("asks for at least %s of %s in a container: %s is raised to that.", b.spell(*b.least), b.word, raised[0]), evidence)
	case 2:
		b.say(h, fmt.Sprintf("asks for at least %s of %s in a container: %s is raised to that, and so is %s.", b.spell(*b.least), b.word, raised[0], raised[1]), evidence)
	}
}

// ratioOf brings limit and request together: it takes from the limit what is
// only the policy's, and then raises the request.
func (b *bounds) ratioOf(h *exporter.ContainerHint) {
	hint, needed := b.of(&h.Hint), b.needed(h)
	request, limit := b.requestOf(h), *hint.limit
	if b.ratio == nil || *b.ratio < 1 || request == nil || limit == nil || *request <= 0 || *limit <= *b.ratio**request*(1+1e-9) {
		return
	}
	text := fmt.Sprintf("allows a limit of at most %s x the request, not %s for %s of %s: ",
		b.times(), b.spell(*limit), b.spell(*request), b.word)
	evidence := map[string]float64{"max_ratio": *b.ratio, "uncapped_limit_" + b.unit: *limit, "uncapped_request_" + b.unit: *request}
	lowered := b.floor(*b.ratio * *request)
	if rounded := b.down(lowered); rounded >= *request {
		lowered = rounded
	}
	if lowered >= needed {
		*hint.limit = new(lowered)
		b.say(h, text+fmt.Sprintf("the limit is lowered to %s.", b.spell(lowered)), evidence)
		return
	}
	// What it needs stays, if need be at the cost of the request.
	least := min(*limit, needed)
	if rounded := b.up(least); rounded <= *limit {
		least = rounded
	}
	raised := min(b.up(least / *b.ratio), least)
	*hint.request, *hint.limit = new(raised), new(least)
	b.say(h, text+fmt.Sprintf("as it needs a limit of %s, the request is raised to %s.", b.spell(least), b.spell(raised)), evidence)
}
