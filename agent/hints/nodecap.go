// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"math"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// nodeCap keeps the amounts within what the node has: a pod that asks for more
// is never scheduled again. That goes for what was published, too.
func (a *advice) nodeCap() {
	if most := a.mostCores(); max(a.now.CPURequestCores.V, a.now.CPULimitCores.V) > most {
		a.say(snapshot.ReasonCPUNodeCap, snapshot.ResourceCPU,
			fmt.Sprintf("The node has %.4g CPUs in all, for the system too: %s is capped at %s.",
				a.facts.NodeCPUs.V, cores(max(a.now.CPURequestCores.V, a.now.CPULimitCores.V)), cores(most)),
			evidence("node_cores", a.facts.NodeCPUs.V))
	}
	if most := a.mostBytes(); max(a.now.MemoryRequestBytes.V, a.now.MemoryLimitBytes.V) > most {
		whose := "The node has %s in all, for the system too"
		if a.facts.NodeMemoryOfPods {
			whose = "All pods of the node together may have %s"
		}
		a.say(snapshot.ReasonMemoryNodeCap, snapshot.ResourceMemory,
			fmt.Sprintf(whose+": %s is capped at %s.",
				bytes(a.facts.NodeMemoryBytes.V), bytes(max(a.now.MemoryRequestBytes.V, a.now.MemoryLimitBytes.V)), bytes(most)),
			evidence("node_bytes", a.facts.NodeMemoryBytes.V))
	}
	for _, p := range []*history.Published{&a.now, &a.published} {
		for _, n := range []*history.Number{&p.CPURequestCores, &p.CPULimitCores} {
			n.V = min(n.V, a.mostCores())
		}
		for _, n := range []*history.Number{&p.MemoryRequestBytes, &p.MemoryLimitBytes} {
			n.V = min(n.V, a.mostBytes())
		}
	}
}

// mostCores and mostBytes are what the node has, in whole steps: amounts are
// rounded up. Infinite where that is not known.
func (a *advice) mostCores() float64 { return most(a.facts.NodeCPUs, cpuStepCores) }

func (a *advice) mostBytes() float64 { return most(a.facts.NodeMemoryBytes, memoryStepBytes) }

func most(of snapshot.Quantity, step float64) float64 {
	if !isSet(of) {
		return math.Inf(1)
	}
	return roundDown(of.V, step)
}
