// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	corev1 "k8s.io/api/core/v1"
)

// The fixed values of the kubelet's rule: guaranteedOOMScoreAdj and
// besteffortOOMScoreAdj in pkg/kubelet/qos/policy.go. Burstable containers stay
// strictly between what the two classes can reach.
const (
	protectedAdj    = -997
	bestEffortAdj   = 1000
	burstableAdjMin = 1000 + protectedAdj
	burstableAdjMax = bestEffortAdj - 1
)

// systemCriticalPriority is SystemCriticalPriority in pkg/apis/scheduling/types.go.
const systemCriticalPriority = 2_000_000_000

// nodeCriticalClass is SystemNodeCritical in pkg/apis/scheduling/types.go.
const nodeCriticalClass = "system-node-critical"

// MirrorAnnotation is on every mirror pod, and has the hash of its manifest
// (CreateMirrorPod in pkg/kubelet/pod/mirror_client.go). The API server lets
// nobody add or change it later (pkg/apis/core/validation), unlike
// kubernetes.io/config.hash and config.source.
const MirrorAnnotation = corev1.MirrorPodAnnotationKey

// OOMScoreAdj returns the oom_score_adj that the kubelet gives to a container
// of pod when it starts it now, and false where that depends on the node's
// memory and capacityBytes is 0. capacityBytes is the node's MemTotal, as the
// kubelet's own capacity is. c is an app, init or ephemeral container of pod.
//
// Source: GetContainerOOMScoreAdjust in pkg/kubelet/qos/policy.go, as of
// Kubernetes 1.36. It changes over versions: sidecars count since 1.29,
// pod-level requests since 1.32. A running container keeps the value it was
// started with, so that a resize makes expected and actual differ.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, capacityBytes int64) (adj int64, known bool) {
	if isNodeCritical(pod) {
		return protectedAdj, true
	}
	switch QoS(pod) {
	case corev1.PodQOSGuaranteed:
		return protectedAdj, true
	case corev1.PodQOSBestEffort:
		return bestEffortAdj, true
	}
	if capacityBytes <= 0 {
		return 0, false
	}
	request := allocatedMemory(pod, c)
	if isSidecarOf(pod, c) {
		// A sidecar must not die before the containers that it serves.
		request = max(request, smallestAppRequest(pod))
	}
	return burstableAdj(request+unclaimedPerContainer(pod), capacityBytes), true
}

// burstableAdj is the rule's formula. It compares before it multiplies, so that
// an absurd request of a static pod cannot overflow.
func burstableAdj(requestBytes, capacityBytes int64) int64 {
	if requestBytes >= capacityBytes {
		return burstableAdjMin
	}
	return min(max(1000-1000*requestBytes/capacityBytes, burstableAdjMin), burstableAdjMax)
}

// isNodeCritical is IsNodeCriticalPod in pkg/kubelet/types/pod_update.go.
func isNodeCritical(pod *corev1.Pod) bool {
	if pod.Spec.PriorityClassName != nodeCriticalClass {
		return false
	}
	return IsStatic(pod) || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCriticalPriority
}

// IsStatic says whether a pod of the API stands for one that the kubelet made
// from a manifest: it is then a mirror pod (IsMirrorPod in
// pkg/kubelet/types/pod_update.go). config.source does not count: anyone may
// write it into a pod, and the kubelet writes its own over it.
func IsStatic(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[MirrorAnnotation]
	return mirror
}

func isSidecarOf(pod *corev1.Pod, c *corev1.Container) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == c.Name {
			return IsSidecar(c)
		}
	}
	return false
}

// smallestAppRequest is minRegularContainerMemory in pkg/kubelet/qos/helpers.go.
func smallestAppRequest(pod *corev1.Pod) int64 {
	var smallest int64
	for i := range pod.Spec.Containers {
		if r := allocatedMemory(pod, &pod.Spec.Containers[i]); i == 0 || r < smallest {
			smallest = r
		}
	}
	return smallest
}

// unclaimedPerContainer returns each container's share, in bytes, of a
// pod-level memory request that the containers did not claim for themselves.
// Source: remainingPodMemReqPerContainer in pkg/kubelet/qos/helpers.go. Init
// containers are in the number that it is divided by, ephemeral ones are not.
func unclaimedPerContainer(pod *corev1.Pod) int64 {
	if pod.Spec.Resources == nil {
		return 0
	}
	own := pod.Spec.Resources.Requests.Memory().Value()
	containers := int64(len(pod.Spec.Containers) + len(pod.Spec.InitContainers))
	if own == 0 || containers == 0 {
		return 0
	}
	if allocated, ok := pod.Status.AllocatedResources[corev1.ResourceMemory]; ok {
		own = allocated.Value()
	}
	return (own - claimedMemory(pod)) / containers
}

// claimedMemory returns the memory in bytes that the pod's containers need at
// once: all apps and sidecars, or one init container beside the sidecars that
// were started before it, whichever is more. Source: AggregateContainerRequests
// in k8s.io/component-helpers/resource.
func claimedMemory(pod *corev1.Pod) int64 {
	var running, starting, sidecars int64
	for i := range pod.Spec.Containers {
		running += allocatedMemory(pod, &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		init := &pod.Spec.InitContainers[i]
		request := allocatedMemory(pod, init)
		if IsSidecar(init) {
			sidecars += request
			starting = max(starting, sidecars)
		} else {
			starting = max(starting, sidecars+request)
		}
	}
	return max(running+sidecars, starting)
}
