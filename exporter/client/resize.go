// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/slicewatch/slicewatch/exporter"
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
		equal = equal && same(after(c.Hint.CPURequestCores, c.Now.CPURequestCores), after(c.Hint.CPULimitCores, c.Now.CPULimitCores)) &&
			same(after(c.Hint.MemoryRequestBytes, c.Now.MemoryRequestBytes), after(c.Hint.MemoryLimitBytes, c.Now.MemoryLimitBytes))
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

func same(a, b *float64) bool { return a != nil && b != nil && *a == *b }

// keepLimits leaves out of a patch that a limit goes away.
func keepLimits(h exporter.ContainerHint) exporter.ContainerHint {
	h.NoCPULimit = false
	return h
}
