// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Container is what the API server says of a running container, in the words
// of the labels.
type Container struct {
	Namespace, Pod, Name, QoS string
	ID, Image, Type, UID      string
	WorkloadKind, Workload    string
	CPURequest, MemoryRequest float64 // NaN without a request
}

// Running returns the running containers of pods.
func Running(pods []corev1.Pod) []Container {
	var all []Container
	for i := range pods {
		pod := &pods[i]
		sidecars := map[string]bool{}
		for _, c := range pod.Spec.InitContainers {
			sidecars[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}
		add := func(kind string, statuses []corev1.ContainerStatus) {
			for _, status := range statuses {
				if status.State.Running == nil {
					continue
				}
				c := container(pod, status, kind)
				if sidecars[status.Name] {
					c.Type = "sidecar"
				}
				all = append(all, c)
			}
		}
		add("init", pod.Status.InitContainerStatuses)
		add("app", pod.Status.ContainerStatuses)
		add("ephemeral", pod.Status.EphemeralContainerStatuses)
	}
	return all
}

func container(pod *corev1.Pod, status corev1.ContainerStatus, kind string) Container {
	c := Container{
		Namespace: pod.Namespace, Pod: pod.Name, Name: status.Name,
		QoS: strings.ToLower(string(pod.Status.QOSClass)),
		ID:  status.ContainerID, Image: status.Image, Type: kind, UID: string(pod.UID),
		CPURequest: math.NaN(), MemoryRequest: math.NaN(),
	}
	c.WorkloadKind, c.Workload = workload(pod)
	if status.Resources != nil {
		if cpu, ok := status.Resources.Requests[corev1.ResourceCPU]; ok {
			c.CPURequest = cpu.AsApproximateFloat64()
		}
		if memory, ok := status.Resources.Requests[corev1.ResourceMemory]; ok {
			c.MemoryRequest = memory.AsApproximateFloat64()
		}
	}
	return c
}

// workload is what a user would edit to change the pod.
func workload(pod *corev1.Pod) (kind, name string) {
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return "StaticPod", strings.TrimSuffix(pod.Name, "-"+pod.Spec.NodeName)
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "Pod", pod.Name
	}
	end := strings.LastIndexByte(owner.Name, '-')
	switch {
	case owner.Kind == "ReplicaSet":
		return "Deployment", owner.Name[:end]
	// Of the workloads' Jobs only those of a CronJob have a number at the end.
	case owner.Kind == "Job" && end > 0 && strings.Trim(owner.Name[end+1:], "0123456789") == "":
		return "CronJob", owner.Name[:end]
	}
	return owner.Kind, owner.Name
}

// bareID is a container's id without the runtime's name.
func bareID(id string) string { return strings.TrimPrefix(id, "containerd://") }

// InfoLabels are the labels that slicewatch_container_info is to have.
func (c Container) InfoLabels() map[string]string {
	return map[string]string{
		"namespace": c.Namespace, "pod": c.Pod, "container": c.Name, "qos": c.QoS,
		"container_id": c.ID, "image": c.Image, "container_type": c.Type, "uid": c.UID,
		"workload_kind": c.WorkloadKind, "workload": c.Workload,
	}
}
