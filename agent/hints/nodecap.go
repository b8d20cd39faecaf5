// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// nodeCap keeps the amounts within what the node has: a pod that asks for more
// is never scheduled again.
func (a *advice) nodeCap() {
	if most := a.facts.NodeCPUs; isSet(most) {
		if wanted := max(a.now.CPURequestCores.V, a.now.CPULimitCores.V); wanted > most.V {
			a.say(snapshot.ReasonCPUNodeCap, snapshot.ResourceCPU,
				fmt.Sprintf("The node has %s for pods: %s is capped there.", cores(most.V), cores(wanted)), evidence("node_cores", most.V))
			capAt(&a.now.CPURequestCores, most.V)
			capAt(&a.now.CPULimitCores, most.V)
		}
	}
	if most := a.facts.NodeMemoryBytes; isSet(most) {
		if wanted := max(a.now.MemoryRequestBytes.V, a.now.MemoryLimitBytes.V); wanted > most.V {
			a.say(snapshot.ReasonMemoryNodeCap, snapshot.ResourceMemory,
				fmt.Sprintf("The node has %s for pods: %s is capped there.", bytes(most.V), bytes(wanted)), evidence("node_bytes", most.V))
			capAt(&a.now.MemoryRequestBytes, most.V)
			capAt(&a.now.MemoryLimitBytes, most.V)
		}
	}
}

func capAt(n *history.Number, most float64) { n.V = min(n.V, most) }
