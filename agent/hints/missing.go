// SPDX-License-Identifier: Apache-2.0

package hints

import "github.com/slicewatch/slicewatch/agent/snapshot"

// missing names requests and limits that are not there and should be.
func (a *advice) missing(h *snapshot.Hint) {
	if isMissing(a.facts.CPURequestCores) && h.CPURequestCores.Known {
		a.say(snapshot.ReasonCPUNoRequest, snapshot.ResourceCPU,
			"It has no CPU request: the scheduler counts it as nothing, and under contention it gets next to nothing.")
	}
	if isMissing(a.facts.CPULimitCores) && h.CPULimitCores.Known {
		a.say(snapshot.ReasonCPUNoLimit, snapshot.ResourceCPU, "It has no CPU limit, which the policy "+string(a.policy)+" wants.")
	}
	if isMissing(a.facts.MemoryRequestBytes) && h.MemoryRequestBytes.Known {
		a.say(snapshot.ReasonMemoryNoReq, snapshot.ResourceMemory,
			"It has no memory request: the node may be given more pods than it has memory for, and this container is killed before those with a request.")
	}
	if isMissing(a.facts.MemoryLimitBytes) && h.MemoryLimitBytes.Known {
		a.say(snapshot.ReasonMemoryNoLimit, snapshot.ResourceMemory,
			"It has no memory limit: what it takes too much, its neighbours on the node are killed for.")
	}
}
