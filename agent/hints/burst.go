// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// burstAdvice tells of a burst allowance that would cure the throttling under
// the same limit. Kubernetes cannot set one: it takes the container runtime or
// a tool on the node.
func (a *advice) burstAdvice(w history.Window) {
	if w.BurstSeconds <= 0 {
		return
	}
	a.burst = snapshot.Quantity{V: w.BurstSeconds, Known: true}
	a.say(snapshot.ReasonCPUBurst, snapshot.ResourceCPU,
		fmt.Sprintf("A burst allowance (cpu.max.burst) of %s would cure it under the same limit of %s: mean use is %s, the rest saves up for bursts that are done within a period.",
			millis(w.BurstSeconds), cores(w.QuotaCores), cores(w.UsedCores)),
		evidence("burst_seconds", w.BurstSeconds), evidence("mean_cores", w.UsedCores))
}
