// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"slices"
)

// sums are over the containers of a pod, of the amounts that there are: the API
// server takes a pod for one without a limit only if no container has one
// (podRequests and podLimits in plugin/pkg/admission/limitranger).
type sums struct {
	requests, limits float64
	limited          bool
}

func sumsOf(all []container) sums {
	var s sums
	for i := range all {
		if all[i].request != nil {
			s.requests += *all[i].request
		}
		if all[i].limit != nil {
			s.limits, s.limited = s.limits+*all[i].limit, true
		}
	}
	return s
}

// hair is by how much sums of amounts may differ from what they are written as.
const hair = 1e-9

// pod holds the sums over the containers of a pod against an item of type Pod.
func (b *bounds) pod(g *group) {
	all := g.containers(b.resource)
	if !slices.ContainsFunc(all, func(c container) bool { return c.requestHinted || c.limitHinted || c.limitRemoved }) {
		return
	}
	sum := sumsOf(all)
	if b.most != nil && sum.limits > *b.most*(1+hair) {
		if !b.squeeze(g, all, sum.limits) {
			return
		}
		sum = sumsOf(g.containers(b.resource))
	}
	if text := b.refuses(sum); text != "" {
		b.sayPod(g, text+": pods with these hints would be refused.", sum)
	}
}

// refuses says what the API server refuses a pod for; empty if it takes it.
func (b *bounds) refuses(sum sums) string {
	switch {
	case b.most != nil && !sum.limited:
		return fmt.Sprintf("allows a pod at most %s of %s, for which one of its containers needs a limit", b.spell(*b.most), b.word)
	case b.most != nil && sum.requests > *b.most*(1+hair):
		return fmt.Sprintf("allows a pod at most %s of %s; the requests of its containers are %s together", b.spell(*b.most), b.word, b.spell(sum.requests))
	case b.least != nil && sum.requests < *b.least*(1-hair):
		return fmt.Sprintf("asks for at least %s of %s in a pod; the requests of its containers are %s together, %s too little",
			b.spell(*b.least), b.word, b.spell(sum.requests), b.spell(*b.least-sum.requests))
	case b.least != nil && sum.limited && sum.limits < *b.least*(1-hair):
		return fmt.Sprintf("asks for at least %s of %s in a pod; the limits of its containers are %s together", b.spell(*b.least), b.word, b.spell(sum.limits))
	case b.ratio != nil && !sum.limited:
		return fmt.Sprintf("allows the limits of a pod to be at most %s x its requests of %s, for which one of its containers needs a limit", b.times(), b.word)
	case b.ratio != nil && sum.requests > 0 && sum.limits > *b.ratio*sum.requests*(1+hair):
		return fmt.Sprintf("allows the limits of a pod to be at most %s x its requests; its limits of %s of %s are %.2f x the requests of %s",
			b.times(), b.spell(sum.limits), b.word, sum.limits/sum.requests, b.spell(sum.requests))
	}
	return ""
}

func (b *bounds) sayPod(g *group, text string, sum sums) {
	evidence := map[string]float64{"pod_requests_" + b.unit: sum.requests}
	if sum.limited {
		evidence["pod_limits_"+b.unit] = sum.limits
	}
	g.say("", codeLimitRange, b.resource, "LimitRange "+b.name+" "+text, evidence)
}

// squeeze takes from the hinted limits what the pod may not have. It changes
// nothing where the other limits leave nothing, as a limit of 0 bounds nothing.
func (b *bounds) squeeze(g *group, all []container, limits float64) bool {
	fixed, least := 0.0, make([]float64, len(all))
	for i := range all {
		if !all[i].limitHinted {
			if all[i].limit != nil {
				fixed += *all[i].limit
			}
			continue
		}
		for _, h := range g.hints {
			if h.Container == all[i].name {
				least[i] = max(least[i], min(b.needed(h), *all[i].limit))
			}
		}
	}
	to, fit := b.shares(all, least, *b.most-fixed)
	if !fit {
		b.sayPod(g, fmt.Sprintf("allows a pod at most %s of %s, of which containers that have no hint for their limit hold %s: pods with these hints would be refused. Lower those limits, or have the LimitRange raised.",
			b.spell(*b.most), b.word, b.spell(fixed)), sumsOf(all))
		return false
	}
	for i := range all {
		if !all[i].limitHinted {
			continue
		}
		text := fmt.Sprintf("allows a pod at most %s of %s; the limits of its containers would be %s together: that of %s is capped at %s.",
			b.spell(*b.most), b.word, b.spell(limits), b.spell(*all[i].limit), b.spell(to[i]))
		if to[i] < least[i]*(1-hair) {
			text += fmt.Sprintf(" It needs %s: have the LimitRange raised.", b.spell(least[i]))
		}
		for _, h := range g.hints {
			if h.Container != all[i].name {
				continue
			}
			hint := b.of(&h.Hint)
			for _, v := range []**float64{hint.limit, hint.request} {
				if *v != nil && **v > to[i] {
					*v = new(to[i])
				}
			}
			b.say(h, text, map[string]float64{"pod_max_" + b.unit: *b.most, "pod_limits_" + b.unit: limits})
		}
	}
	return true
}

// shares returns what is left of each hinted limit where they have that room
// together: it takes of each the same share of what it has above its need (least),
// and if that is not enough the same share of all. They do not fit where nothing
// would be left of one.
func (b *bounds) shares(all []container, least []float64, room float64) (to []float64, fit bool) {
	hinted, spare := 0.0, 0.0
	for i := range all {
		if all[i].limitHinted {
			hinted, spare = hinted+*all[i].limit, spare+*all[i].limit-least[i]
		}
	}
	excess := hinted - room
	to = make([]float64, len(all))
	for i := range all {
		if !all[i].limitHinted {
			continue
		}
		was := *all[i].limit
		if spare < excess {
			to[i] = b.floor(was * room / hinted)
		} else {
			to[i] = b.floor(was - excess*(was-least[i])/spare)
		}
		if rounded := b.down(to[i]); rounded > 0 && (rounded >= least[i] || spare < excess) {
			to[i] = rounded
		}
		if to[i] <= 0 {
			return nil, false
		}
	}
	return to, hinted > 0
}
