// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"math"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// The steps that amounts are rounded up to, which are also the least amounts.
const (
	cpuStepCores    = 0.010
	memoryStepBytes = 16 << 20
)

// memoryAmounts makes request and limit of the need, as the policy wants.
func (a *advice) memoryAmounts() {
	if a.need <= 0 {
		a.say(snapshot.ReasonFewMemSamples, snapshot.ResourceMemory, "No memory hint yet: no working set was seen.")
		return
	}
	request, limit := a.need, a.need
	if a.policy == Burstable {
		limit = max(2*request, a.limitFloor)
	}
	a.now.MemoryRequestBytes, a.now.MemoryLimitBytes = history.Known(request), history.Known(limit)
}

// cpuLimit makes the CPU limit.
func (a *advice) cpuLimit() {
	request := a.now.CPURequestCores
	if !request.Known || a.policy == NoCPULimit {
		return
	}
	limit := request.V
	if a.policy == Burstable {
		limit = 2 * request.V
	}
	a.now.CPULimitCores = history.Known(limit)
	if a.policy == Guaranteed {
		a.now.CPURequestCores = a.now.CPULimitCores
	}
}

// round brings the amounts to the steps that users write, upwards.
func round(h *snapshot.Hint) {
	up := func(q *snapshot.Quantity, step float64) {
		if q.Known {
			// A hair of floating point must not cost a whole step.
			q.V = math.Max(1, math.Ceil(q.V/step-1e-9)) * step
		}
	}
	up(&h.CPURequestCores, cpuStepCores)
	up(&h.CPULimitCores, cpuStepCores)
	up(&h.MemoryRequestBytes, memoryStepBytes)
	up(&h.MemoryLimitBytes, memoryStepBytes)
}
