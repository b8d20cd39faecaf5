// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	// heldFor is how long a published hint stands: a workload is not to be
	// changed more often.
	heldFor = 24 * time.Hour
	// urgentShare is the share of the last hour above the published request
	// that makes a new one urgent, urgentCovered how much of that hour must
	// have been seen.
	urgentShare   = 0.5
	urgentCovered = 50 * time.Minute
	// cheaper is by what share a new CPU request must be cheaper than the published
	// one after a day.
	cheaper = 0.2
	// movedBand is by how much an amount of CPU must differ after a day.
	movedBand = 0.5
	// correctedStep is by how much a guess must be off to be corrected at once by
	// the first window that knows: two windows of one load differ by a little.
	correctedStep = 1.1
	// settled is how much of its first day a hint is made anew more often, as
	// the little that is known grows.
	settled = 24 * time.Hour
)

// hold decides what is published: what stands already, or what the evidence
// asks for now.
func (a *advice) hold() {
	stands := a.published
	if stands.At.IsZero() || stands.Policy != string(a.policy) || stands.At.After(a.at) {
		a.publish(a.now)
		return
	}
	a.urgency(stands)
	daily := a.at.Sub(stands.At) >= a.heldFor()
	next := stands
	next.At = stands.At
	if daily {
		next.At = a.at
	}
	a.holdCPU(&next, stands, daily)
	if daily || a.urgentMemory || stands.MemoryLimitBytes.Known != a.now.MemoryLimitBytes.Known {
		next.MemoryRequestBytes, next.MemoryLimitBytes = a.now.MemoryRequestBytes, a.now.MemoryLimitBytes
	}
	if a.now.CPULimitCores.Known && !a.now.Provisional {
		next.Provisional = false // a window that knows was seen, and may have agreed
	}
	if next != stands {
		next.At = a.at
		a.publish(next)
	}
}

// heldFor returns how long a hint stands: a day, and less while hardly more
// than that is known.
func (a *advice) heldFor() time.Duration {
	known := a.series.Last().Sub(a.series.First())
	switch {
	case known < time.Hour:
		return 5 * time.Minute
	case known < settled:
		return time.Hour
	}
	return heldFor
}

// urgency decides whether use has left the published request behind.
func (a *advice) urgency(stands history.Published) {
	share, covered := a.series.AbovePublished(a.at)
	if share <= urgentShare || covered < urgentCovered || a.now.CPURequestCores.V <= stands.CPURequestCores.V {
		return
	}
	a.urgentRequest = true
	a.say(snapshot.ReasonCPUUrgent, snapshot.ResourceCPU,
		fmt.Sprintf("Use was above the request hinted at before, %s, for %s of the last hour: it is raised at once.",
			cores(stands.CPURequestCores.V), percent(share)), evidence("above_ratio", share))
}

func (a *advice) holdCPU(next *history.Published, stands history.Published, daily bool) {
	stood := a.at.Sub(stands.CPUChanged)
	known := stands.CPURequestCores.Known != a.now.CPURequestCores.Known
	limitKnown := stands.CPULimitCores.Known != a.now.CPULimitCores.Known
	if a.urgentRequest || known || daily && a.requestMoved(stands.CPURequestCores, stood) {
		next.CPURequestCores = a.now.CPURequestCores
	}
	corrected := stands.Provisional && !a.now.Provisional && beyond(correctedStep, stands.CPULimitCores, a.now.CPULimitCores)
	if a.urgentLimit || limitKnown || corrected || daily && moved(stands.CPULimitCores, a.now.CPULimitCores, stood) {
		next.CPULimitCores, next.Provisional = a.now.CPULimitCores, a.now.Provisional
	}
	switch a.policy {
	case Guaranteed:
		if next.CPURequestCores != stands.CPURequestCores || next.CPULimitCores != stands.CPULimitCores {
			next.CPURequestCores, next.CPULimitCores = a.now.CPURequestCores, a.now.CPULimitCores
		}
	case Burstable:
		if next.CPULimitCores.Known && next.CPURequestCores.Known {
			next.CPULimitCores.V = max(next.CPULimitCores.V, min(limitRatio*next.CPURequestCores.V, a.mostCores()))
		}
	}
}

func (a *advice) publish(p history.Published) {
	p.At, p.Policy = a.at, string(a.policy)
	before := a.series.Published()
	p.CPUChanged, p.MemoryChanged = before.CPUChanged, before.MemoryChanged
	if p.CPURequestCores != before.CPURequestCores || p.CPULimitCores != before.CPULimitCores {
		p.CPUChanged = a.at
	}
	if p.MemoryRequestBytes != before.MemoryRequestBytes || p.MemoryLimitBytes != before.MemoryLimitBytes {
		p.MemoryChanged = a.at
	}
	a.published = p
	a.series.Publish(p)
}

// requestMoved says whether the CPU request is enough cheaper than the published
// one to bother users with: by a fifth of the cost after a day, by a tenth after
// two. Where two requests as far apart as the busy and the idle time cost about the
// same, the one that stands stays; where a little is much, it goes.
func (a *advice) requestMoved(from history.Number, stood time.Duration) bool {
	to := a.now.CPURequestCores
	if !from.Known || !to.Known || a.beyond <= 0 || a.policy == Guaranteed {
		return moved(from, to, stood)
	}
	before, ok := a.series.RequestCost(a.span, from.V/a.beyond)
	after, _ := a.series.RequestCost(a.span, to.V/a.beyond)
	return ok && after < before*(1-cheaper/max(1, stood.Hours()/24))
}

// moved says whether an amount differs enough from the published one to bother
// users with: by half after a day, by a quarter after two, so that a large error
// does not stand for long nor a small one for ever.
func moved(from, to history.Number, stood time.Duration) bool {
	if !from.Known || !to.Known {
		return from != to
	}
	return beyond(1+movedBand/max(1, stood.Hours()/24), from, to)
}

// beyond says whether two amounts that are known differ by more than a factor.
func beyond(factor float64, from, to history.Number) bool {
	return to.V > from.V*factor || to.V < from.V/factor
}

// sayHeld tells where what is shown is not what the newest numbers would give.
func (a *advice) sayHeld() {
	p, n := a.published, a.now
	if p.CPURequestCores.Known && n.CPURequestCores.Known && differs(p.CPURequestCores.V, n.CPURequestCores.V, cpuStepCores) {
		a.say(snapshot.ReasonCPUHeld, snapshot.ResourceCPU,
			fmt.Sprintf("Shown is the request of %s that was published %s ago; the newest numbers would give %s, which is not enough of a change yet.",
				cores(p.CPURequestCores.V), duration(a.at.Sub(p.CPUChanged)), cores(n.CPURequestCores.V)))
	}
	if p.CPULimitCores.Known && n.CPULimitCores.Known && differs(p.CPULimitCores.V, n.CPULimitCores.V, cpuStepCores) {
		a.say(snapshot.ReasonCPUHeld, snapshot.ResourceCPU,
			fmt.Sprintf("Shown is the limit of %s that was published %s ago; the newest numbers would give %s.",
				cores(p.CPULimitCores.V), duration(a.at.Sub(p.CPUChanged)), cores(n.CPULimitCores.V)))
	}
	if p.MemoryLimitBytes.Known && n.MemoryLimitBytes.Known &&
		(differs(p.MemoryLimitBytes.V, n.MemoryLimitBytes.V, memoryStepBytes) || differs(p.MemoryRequestBytes.V, n.MemoryRequestBytes.V, memoryStepBytes)) {
		a.say(snapshot.ReasonMemoryHeld, snapshot.ResourceMemory,
			fmt.Sprintf("Shown are the request of %s and the limit of %s that were published %s ago; the newest numbers would give %s and %s, in at most a day.",
				bytes(p.MemoryRequestBytes.V), bytes(p.MemoryLimitBytes.V), duration(a.at.Sub(p.MemoryChanged)), bytes(n.MemoryRequestBytes.V), bytes(n.MemoryLimitBytes.V)))
	}
}

// differs says whether two amounts are rounded to different steps.
func differs(a, b, step float64) bool { return roundUp(a, step) != roundUp(b, step) }
