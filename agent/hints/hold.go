// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
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
	// movedBand is by how much an amount must differ after a day.
	movedBand = 0.5
)

// hold decides what is published: what stands already, or what the evidence
// asks for now.
func (a *advice) hold() {
	stands := a.published
	if stands.At.IsZero() || stands.Policy != a.now.Policy || stands.At.After(a.at) {
		a.publish(a.now)
		return
	}
	next := stands
	daily := a.at.Sub(stands.At) >= heldFor
	if share, covered := a.series.AbovePublished(a.at); share > urgentShare && covered >= urgentCovered && a.now.CPURequestCores.V > stands.CPURequestCores.V {
		a.urgentCPU = true
	}
	if daily && !moved(stands.CPURequestCores, a.now.CPURequestCores, a.at.Sub(stands.CPUChanged)) {
		a.now.CPURequestCores, a.now.CPULimitCores = stands.CPURequestCores, stands.CPULimitCores
	}
	if daily || a.urgentCPU || !stands.CPURequestCores.Known || !a.now.CPURequestCores.Known {
		next.CPURequestCores, next.CPULimitCores = a.now.CPURequestCores, a.now.CPULimitCores
	}
	if daily || a.urgentMemory || !stands.MemoryLimitBytes.Known || !a.now.MemoryLimitBytes.Known {
		next.MemoryRequestBytes, next.MemoryLimitBytes = a.now.MemoryRequestBytes, a.now.MemoryLimitBytes
	}
	if daily || next != stands {
		next.At = a.at
		a.publish(next)
	}
}

func (a *advice) publish(p history.Published) {
	p.At, p.Policy = a.at, string(a.policy)
	before := a.series.Published()
	if p.CPURequestCores != before.CPURequestCores || p.CPULimitCores != before.CPULimitCores {
		p.CPUChanged = a.at
	}
	if p.MemoryRequestBytes != before.MemoryRequestBytes || p.MemoryLimitBytes != before.MemoryLimitBytes {
		p.MemoryChanged = a.at
	}
	a.published = p
	a.series.Publish(p)
}

// moved says whether an amount differs enough from the published one to bother
// users with: by half after a day, by a quarter after two, so that a large error
// does not stand for long nor a small one for ever.
func moved(from, to history.Number, stood time.Duration) bool {
	if !from.Known || !to.Known {
		return from != to
	}
	band := 1 + movedBand/max(1, stood.Hours()/24)
	return to.V > from.V*band || to.V < from.V/band
}
