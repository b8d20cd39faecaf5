// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// Requests returns what a container requests as it runs now, in thousandths of
// a CPU and in bytes. An in-place resize shows in the spec before the kubelet
// has agreed to it, so each resource comes from the first of these that has
// it: the status's resources (applied), the status's allocated resources
// (agreed), the spec (wanted). The spec counts only where the status has no
// resources at all: those have all that was agreed, so that a request that they
// lack is one that is only wanted (convertContainerStatusResources in
// pkg/kubelet/kubelet_pods.go). A resource that none of them has is unknown.
// status is nil while the container has none.
func Requests(c *corev1.Container, status *corev1.ContainerStatus) (cpuMillis, memoryBytes snapshot.Amount) {
	if q, ok := request(c, status, corev1.ResourceCPU); ok {
		cpuMillis = snapshot.Amount{N: q.MilliValue(), Known: true}
	}
	if q, ok := request(c, status, corev1.ResourceMemory); ok {
		memoryBytes = snapshot.Amount{N: q.Value(), Known: true}
	}
	return cpuMillis, memoryBytes
}

// PodRequests returns what a pod itself requests (pod-level resources), as it runs
// now, in thousandths of a CPU and in bytes, in the order of Requests. The scheduler
// counts that instead of what its containers request (k8s.io/component-helpers
// resource.PodRequests).
func PodRequests(pod *corev1.Pod) (cpuMillis, memoryBytes snapshot.Amount) {
	if pod.Spec.Resources == nil {
		return cpuMillis, memoryBytes
	}
	for _, list := range [...]corev1.ResourceList{
		pod.Spec.Resources.Requests, pod.Status.AllocatedResources, resourcesOf(pod.Status.Resources),
	} {
		if q, ok := list[corev1.ResourceCPU]; ok && wants(pod, corev1.ResourceCPU) {
			cpuMillis = snapshot.Amount{N: q.MilliValue(), Known: true}
		}
		if q, ok := list[corev1.ResourceMemory]; ok && wants(pod, corev1.ResourceMemory) {
			memoryBytes = snapshot.Amount{N: q.Value(), Known: true}
		}
	}
	return cpuMillis, memoryBytes
}

// wants says whether the pod itself requests a resource: the status may have sums
// over its containers.
func wants(pod *corev1.Pod, name corev1.ResourceName) bool {
	_, ok := pod.Spec.Resources.Requests[name]
	return ok
}

func resourcesOf(r *corev1.ResourceRequirements) corev1.ResourceList {
	if r == nil {
		return nil
	}
	return r.Requests
}

func request(c *corev1.Container, status *corev1.ContainerStatus, name corev1.ResourceName) (resource.Quantity, bool) {
	if status != nil {
		if status.Resources != nil {
			if q, ok := status.Resources.Requests[name]; ok {
				return q, true
			}
		}
		if q, ok := status.AllocatedResources[name]; ok || status.Resources != nil {
			return q, ok
		}
	}
	q, ok := c.Resources.Requests[name]
	return q, ok
}

// allocatedMemory returns the memory request in bytes that the kubelet admitted
// the container with, which is what it computes oom_score_adj from; 0 if none.
func allocatedMemory(pod *corev1.Pod, c *corev1.Container) int64 {
	if status := Status(pod, c.Name); status != nil {
		if q, ok := status.AllocatedResources[corev1.ResourceMemory]; ok {
			return q.Value()
		}
	}
	return c.Resources.Requests.Memory().Value()
}

// Status returns the status of the container of that name, or nil. Names are
// unique in a pod, over all its container lists.
func Status(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [...][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// IsSidecar says whether an entry of spec.initContainers is a sidecar, which
// the API calls a restartable init container.
func IsSidecar(init *corev1.Container) bool {
	return init.RestartPolicy != nil && *init.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
