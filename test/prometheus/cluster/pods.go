// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
)

// podsOf returns the tree's pods as the API has them, by UID.
func podsOf(tree *kubetree.Tree) map[string]*corev1.Pod {
	all := map[string]*corev1.Pod{}
	for _, p := range tree.Pods() {
		all[p.UID] = podOf(p, tree.Containers(p))
	}
	return all
}

const templateHash = "6d4cf56db6"

func podOf(p *kubetree.Pod, running []*kubetree.Container) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", UID: types.UID(p.UID)},
		Spec:       corev1.PodSpec{NodeName: nodeName},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: classOf(p.QoS)},
	}
	own(pod, p.Spec.Name)
	for _, c := range p.Spec.Containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: c.Name, Image: "registry.example/" + c.Name + ":1.0", Resources: resourcesOf(c.Resources),
		})
		status := corev1.ContainerStatus{Name: c.Name}
		if at := slices.IndexFunc(running, func(r *kubetree.Container) bool { return r.Spec.Name == c.Name }); at >= 0 {
			status.ContainerID = "containerd://" + running[at].ID
			status.RestartCount = int32(running[at].Attempt)
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(running[at].Started)}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	return pod
}

// own names the pod as its controller would: a StatefulSet's database, users'
// jobs that nobody owns, Deployments.
func own(pod *corev1.Pod, name string) {
	yes := true
	owner := func(kind, of string) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: of, UID: "0", Controller: &yes}}
	}
	switch {
	case name == "mongodb" || name == "redis":
		pod.Name = name + "-0"
		owner("StatefulSet", name)
	case strings.HasPrefix(name, "user-"):
		pod.Namespace, pod.Name = "users", name
	default:
		pod.Name = name + "-" + templateHash + "-" + string(pod.UID[:5])
		pod.Labels = map[string]string{"pod-template-hash": templateHash}
		owner("ReplicaSet", name+"-"+templateHash)
	}
}

func classOf(q cgroupfs.QoS) corev1.PodQOSClass {
	switch q {
	case cgroupfs.Guaranteed:
		return corev1.PodQOSGuaranteed
	case cgroupfs.BestEffort:
		return corev1.PodQOSBestEffort
	}
	return corev1.PodQOSBurstable
}

func resourcesOf(r kubetree.Resources) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	cpu := func(milli int64) resource.Quantity { return *resource.NewMilliQuantity(milli, resource.DecimalSI) }
	memory := func(bytes int64) resource.Quantity { return *resource.NewQuantity(bytes, resource.BinarySI) }
	if r.CPULimitMilli > 0 {
		out.Limits[corev1.ResourceCPU] = cpu(r.CPULimitMilli)
	}
	if r.MemoryLimitBytes > 0 {
		out.Limits[corev1.ResourceMemory] = memory(r.MemoryLimitBytes)
	}
	if request := r.CPURequestMilli; request > 0 {
		out.Requests[corev1.ResourceCPU] = cpu(request)
	} else if limit, ok := out.Limits[corev1.ResourceCPU]; ok {
		out.Requests[corev1.ResourceCPU] = limit
	}
	if request := r.MemoryRequestBytes; request > 0 {
		out.Requests[corev1.ResourceMemory] = memory(request)
	} else if limit, ok := out.Limits[corev1.ResourceMemory]; ok {
		out.Requests[corev1.ResourceMemory] = limit
	}
	return out
}
