// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/slicewatch/slicewatch/agent/identity/kubelet"
)

// strip is the informer's transform: a pod with what factsOf reads and nothing
// else, so that environments, volumes, commands and managed fields are neither
// kept in memory nor ever seen by the rest of the agent.
func strip(obj any) (any, error) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return gone, nil
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("strip a pod: got %T", obj)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:              pod.Name,
			Namespace:         pod.Namespace,
			UID:               pod.UID,
			ResourceVersion:   pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp,
			Labels:            pick(pod.Labels, 0, kubelet.WorkloadLabels()...),
			Annotations:       stripAnnotations(pod),
			OwnerReferences:   stripOwners(pod),
		},
		Spec: corev1.PodSpec{
			NodeName:            pod.Spec.NodeName,
			Containers:          stripContainers(pod.Spec.Containers),
			InitContainers:      stripContainers(pod.Spec.InitContainers),
			EphemeralContainers: stripEphemeral(pod.Spec.EphemeralContainers),
			PriorityClassName:   pod.Spec.PriorityClassName,
			Priority:            pod.Spec.Priority,
			Resources:           stripOptional(pod.Spec.Resources),
		},
		Status: corev1.PodStatus{
			Phase:                      pod.Status.Phase,
			QOSClass:                   pod.Status.QOSClass,
			AllocatedResources:         stripList(pod.Status.AllocatedResources),
			Resources:                  stripOptional(pod.Status.Resources),
			ContainerStatuses:          stripStatuses(pod.Status.ContainerStatuses),
			InitContainerStatuses:      stripStatuses(pod.Status.InitContainerStatuses),
			EphemeralContainerStatuses: stripStatuses(pod.Status.EphemeralContainerStatuses),
		},
	}, nil
}

// pick returns the entries of m with these keys, nil if there are none. Values
// longer than maxLength bytes are left out, unless maxLength is 0.
func pick(m map[string]string, maxLength int, keys ...string) map[string]string {
	var picked map[string]string
	for _, key := range keys {
		value, ok := m[key]
		if !ok || maxLength > 0 && len(value) > maxLength {
			continue
		}
		if picked == nil {
			picked = make(map[string]string, 1)
		}
		picked[key] = value
	}
	return picked
}

func stripAnnotations(pod *corev1.Pod) map[string]string {
	return pick(pod.Annotations, maxPolicyLength, kubelet.MirrorAnnotation, PolicyAnnotation)
}

func stripOwners(pod *corev1.Pod) []metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return nil
	}
	return []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
}

func stripContainers(all []corev1.Container) []corev1.Container {
	stripped := make([]corev1.Container, len(all))
	for i := range all {
		stripped[i] = stripContainer(&all[i])
	}
	return stripped
}

func stripEphemeral(all []corev1.EphemeralContainer) []corev1.EphemeralContainer {
	if len(all) == 0 {
		return nil
	}
	stripped := make([]corev1.EphemeralContainer, len(all))
	for i := range all {
		c := corev1.Container(all[i].EphemeralContainerCommon)
		stripped[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(stripContainer(&c))
	}
	return stripped
}

func stripContainer(c *corev1.Container) corev1.Container {
	return corev1.Container{
		Name:          c.Name,
		Image:         c.Image,
		RestartPolicy: c.RestartPolicy,
		Resources:     *stripOptional(&c.Resources),
	}
}

func stripStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	if len(all) == 0 {
		return nil
	}
	stripped := make([]corev1.ContainerStatus, len(all))
	for i := range all {
		s := &all[i]
		stripped[i] = corev1.ContainerStatus{
			Name:               s.Name,
			Image:              s.Image,
			ContainerID:        s.ContainerID,
			AllocatedResources: stripList(s.AllocatedResources),
			Resources:          stripOptional(s.Resources),
		}
		if ended := s.LastTerminationState.Terminated; ended != nil {
			stripped[i].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: ended.ContainerID}
		}
	}
	return stripped
}

func stripOptional(r *corev1.ResourceRequirements) *corev1.ResourceRequirements {
	if r == nil {
		return nil
	}
	return &corev1.ResourceRequirements{Requests: stripList(r.Requests), Limits: stripList(r.Limits)}
}

// stripList keeps CPU and memory, the only resources that count for the QoS
// class and that cgroups know.
func stripList(list corev1.ResourceList) corev1.ResourceList {
	var stripped corev1.ResourceList
	for _, name := range [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q, ok := list[name]
		if !ok {
			continue
		}
		if stripped == nil {
			stripped = make(corev1.ResourceList, 2)
		}
		stripped[name] = q
	}
	return stripped
}
