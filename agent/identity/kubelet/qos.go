// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// qosResources are the only resources that decide a pod's class.
func qosResources() [2]corev1.ResourceName {
	return [2]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
}

// QoS returns the pod's class: the one in its status, else computed from its
// spec, which pods without a status need. Source: GetPodQOS and ComputePodQOS
// in pkg/apis/core/v1/helper/qos/qos.go.
func QoS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	var requests, limits [2]resource.Quantity
	everyLimitSet := true
	for _, r := range qosRequirements(pod) {
		for i, name := range qosResources() {
			if q := r.Requests[name]; q.Sign() > 0 {
				requests[i].Add(q)
			}
			if q := r.Limits[name]; q.Sign() > 0 {
				limits[i].Add(q)
			} else {
				everyLimitSet = false
			}
		}
	}
	anything, equal := false, true
	for i := range requests {
		anything = anything || requests[i].Sign() > 0 || limits[i].Sign() > 0
		equal = equal && requests[i].Cmp(limits[i]) == 0
	}
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case everyLimitSet && equal:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// qosRequirements returns the requirements that count for the class: those of
// the pod where it has its own, else those of its containers. Ephemeral
// containers cannot have any.
func qosRequirements(pod *corev1.Pod) []corev1.ResourceRequirements {
	if own := pod.Spec.Resources; own != nil && len(own.Requests)+len(own.Limits) > 0 {
		return []corev1.ResourceRequirements{*own}
	}
	all := make([]corev1.ResourceRequirements, 0, len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Resources)
	}
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Resources)
	}
	return all
}
