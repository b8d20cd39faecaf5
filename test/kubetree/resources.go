// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"fmt"
	"os"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Resources are requests and limits; 0 is none. A limit without a request is
// also the request, as the API server defaults it.
type Resources struct {
	CPURequestMilli, CPULimitMilli       int64
	MemoryRequestBytes, MemoryLimitBytes int64
}

func (r Resources) defaulted() Resources {
	if r.CPURequestMilli == 0 {
		r.CPURequestMilli = r.CPULimitMilli
	}
	if r.MemoryRequestBytes == 0 {
		r.MemoryRequestBytes = r.MemoryLimitBytes
	}
	return r
}

const (
	periodMicros = 100_000
	// oomAdjSandbox and oomAdjGuaranteed: pkg/kubelet/qos/policy.go and the
	// runtimes' sandboxes.
	oomAdjSandbox    = -998
	oomAdjGuaranteed = -997
	// memoryThrottlingFactor is the kubelet's default for MemoryQoS.
	memoryThrottlingFactor = 0.9
)

// cpuWeight turns a CPU request into cpu.weight the way of the kubelet and
// runc: to shares (MilliCPUToShares), then from 2..262144 to 1..10000.
func cpuWeight(requestMilli int64) int64 {
	shares := min(max(requestMilli*1024/1000, 2), 262144)
	return (shares-2)*9999/262142 + 1
}

// cpuMax returns cpu.max for a limit; the kubelet's least quota is 1 ms.
func cpuMax(limitMilli int64) string {
	if limitMilli == 0 {
		return fmt.Sprintf("max %d", periodMicros)
	}
	return fmt.Sprintf("%d %d", max(limitMilli*periodMicros/1000, 1000), periodMicros)
}

// memoryLimit returns memory.max for a limit.
func memoryLimit(limitBytes int64) string {
	if limitBytes == 0 {
		return "max"
	}
	return fmt.Sprint(limitBytes)
}

// memoryHigh returns a container's memory.high under MemoryQoS: request plus
// nine tenths of the way to the limit (or to what the node may give to pods),
// in whole pages. Guaranteed and BestEffort containers have none (source:
// pkg/kubelet/kuberuntime/kuberuntime_container_linux.go).
func memoryHigh(r Resources, q cgroupfs.QoS, allocatableBytes int64) string {
	limit := r.MemoryLimitBytes
	if limit == 0 {
		limit = allocatableBytes
	}
	if q != cgroupfs.Burstable || r.MemoryRequestBytes == 0 || r.MemoryRequestBytes >= limit {
		return "max"
	}
	page := int64(os.Getpagesize())
	high := float64(r.MemoryRequestBytes) + memoryThrottlingFactor*float64(limit-r.MemoryRequestBytes)
	return fmt.Sprint(int64(high) / page * page)
}

// oomScoreAdj is pkg/kubelet/qos/policy.go, GetContainerOOMScoreAdjust.
func oomScoreAdj(r Resources, q cgroupfs.QoS, nodeCritical bool, nodeBytes int64) int {
	switch {
	case nodeCritical, q == cgroupfs.Guaranteed:
		return oomAdjGuaranteed
	case q == cgroupfs.BestEffort:
		return 1000
	}
	adj := 1000 - 1000*r.MemoryRequestBytes/nodeBytes
	return int(min(max(adj, 1000+oomAdjGuaranteed), 999))
}

// qosOf is the class that Kubernetes gives to a pod with these containers.
func qosOf(containers []ContainerSpec) cgroupfs.QoS {
	guaranteed, bestEffort := true, true
	for _, c := range containers {
		r := c.Resources.defaulted()
		if r != (Resources{}) {
			bestEffort = false
		}
		if r.CPULimitMilli == 0 || r.MemoryLimitBytes == 0 ||
			r.CPURequestMilli != r.CPULimitMilli || r.MemoryRequestBytes != r.MemoryLimitBytes {
			guaranteed = false
		}
	}
	switch {
	case bestEffort:
		return cgroupfs.BestEffort
	case guaranteed:
		return cgroupfs.Guaranteed
	}
	return cgroupfs.Burstable
}

// podResources sums up the containers; a limit only exists if every container
// has one (pkg/kubelet/cm/helpers_linux.go, ResourceConfigForPod).
func podResources(containers []ContainerSpec) Resources {
	var sum Resources
	cpuLimits, memoryLimits := true, true
	for _, c := range containers {
		r := c.Resources.defaulted()
		sum.CPURequestMilli += r.CPURequestMilli
		sum.CPULimitMilli += r.CPULimitMilli
		sum.MemoryRequestBytes += r.MemoryRequestBytes
		sum.MemoryLimitBytes += r.MemoryLimitBytes
		cpuLimits = cpuLimits && r.CPULimitMilli > 0
		memoryLimits = memoryLimits && r.MemoryLimitBytes > 0
	}
	if !cpuLimits {
		sum.CPULimitMilli = 0
	}
	if !memoryLimits {
		sum.MemoryLimitBytes = 0
	}
	return sum
}
