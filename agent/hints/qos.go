// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// qosClass says what the class of the pod means for the container.
func (a *advice) qosClass() {
	if !a.facts.QoSKnown {
		return
	}
	switch {
	case a.facts.WorkloadKind == "StatefulSet" && a.facts.QoS != cgroupfs.Guaranteed:
		a.say(snapshot.ReasonStateful, snapshot.ResourceMemory,
			"It belongs to a StatefulSet but its pod is "+a.facts.QoS.String()+": what keeps data should be Guaranteed (requests equal to limits in every container), so that it is killed last when the node runs out of memory.")
	case a.facts.QoS == cgroupfs.BestEffort:
		a.say(snapshot.ReasonBestEffort, snapshot.ResourceMemory,
			"Its pod is BestEffort, without any request or limit: it is the first to be killed when the node runs out of memory.")
	}
}
