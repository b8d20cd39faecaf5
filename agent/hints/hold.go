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
	a.published = p
	a.series.Publish(p)
}
