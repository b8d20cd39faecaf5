// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// resizable says why a pod without a controller cannot be resized as its hints
// are; empty if it can. The API server refuses a resize that changes the pod's
// QoS class (Kubernetes' ComputePodQOS) or takes a limit away.
func (w *workload) resizable() (why string) {
	if len(w.containers) == 0 {
		return ""
	}
	equal := true // all requests are the limits, which makes a pod Guaranteed
	for i := range w.containers {
		c := &w.containers[i]
		equal = equal && spelledAlike(after(c.Hint.CPURequestCores, c.Now.CPURequestCores), after(c.Hint.CPULimitCores, c.Now.CPULimitCores), conflicts.SpellCores) &&
			spelledAlike(after(c.Hint.MemoryRequestBytes, c.Now.MemoryRequestBytes), after(c.Hint.MemoryLimitBytes, c.Now.MemoryLimitBytes), conflicts.SpellBytes)
	}
	qos := w.containers[0].QoS
	if qos == "guaranteed" && equal || qos == "burstable" && !equal {
		return ""
	}
	return "a pod without a controller can only be resized within its QoS class, which is " + qos + ": write it into whatever makes the pod"
}

func after(hint, now *float64) *float64 {
	if hint != nil {
		return hint
	}
	return now
}

// spelledAlike compares a request and a limit as a patch has them.
func spelledAlike(request, limit *float64, spell func(float64) string) bool {
	return request != nil && limit != nil && spell(*request) == spell(*limit)
}

// keepLimits leaves out of a patch that a limit goes away.
func keepLimits(h exporter.ContainerHint) exporter.ContainerHint {
	h.NoCPULimit = false
	return h
}
