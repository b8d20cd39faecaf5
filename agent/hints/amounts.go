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
	if max(a.need, a.limitFloor) <= 0 {
		a.say(snapshot.ReasonFewMemSamples, snapshot.ResourceMemory, "No memory hint yet: no working set was seen.")
		return
	}
	request, limit := max(a.need, a.limitFloor), max(a.need, a.limitFloor)
	if a.policy == Burstable {
		if a.need > 0 {
			request = a.need
		}
		limit = max(2*request, a.limitFloor)
	}
	a.now.MemoryRequestBytes, a.now.MemoryLimitBytes = history.Known(request), history.Known(limit)
}

// round brings the amounts to the steps that users write, upwards.
func round(h *snapshot.Hint) {
	up := func(q *snapshot.Quantity, step float64) {
		if q.Known {
			q.V = roundUp(q.V, step)
		}
	}
	up(&h.CPURequestCores, cpuStepCores)
	up(&h.CPULimitCores, cpuStepCores)
	up(&h.MemoryRequestBytes, memoryStepBytes)
	up(&h.MemoryLimitBytes, memoryStepBytes)
}

// roundUp returns the next multiple of step, at least one. A hair of floating
// point does not cost a whole step.
func roundUp(v, step float64) float64 {
	return wholeSteps(math.Ceil(v/step-hair), step)
}

// roundDown returns the last multiple of step, at least one.
func roundDown(v, step float64) float64 { return wholeSteps(math.Floor(v/step+hair), step) }

const hair = 1e-6

func wholeSteps(n, step float64) float64 {
	n = math.Max(1, n)
	if step < 1 {
		return n / math.Round(1/step) // exact for steps such as 0.01
	}
	return n * step
}
