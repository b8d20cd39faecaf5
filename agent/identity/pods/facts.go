// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/agent/identity/kubelet"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// PolicyAnnotation is the pod annotation that chooses how hints are made for
// the pod.
const PolicyAnnotation = "slicewatch.dev/policy"

// maxPolicyLength bounds what is kept of the annotation, in bytes. Anyone who
// may create pods writes it, and the API allows 256 KiB. What is longer is no
// policy that we know, and is dropped.
const maxPolicyLength = 63

// Pod is what the API server says of a pod, as far as the agent uses it.
type Pod struct {
	// UID is the API server's.
	UID string
	// CgroupUID is the UID in the paths of the pod's cgroups. It differs from
	// UID for static pods only: there it is the hash of the manifest, and the
	// API shows a mirror pod with a UID of its own.
	CgroupUID string
	Namespace string
	Name      string
	// Ended is true once all containers ended for good.
	Ended bool

	WorkloadKind  string // see kubelet.Workload
	Workload      string
	PriorityClass string
	Policy        string // PolicyAnnotation, or empty
	// What the pod itself requests; unknown where only its containers do.
	CPURequestMillis   snapshot.Amount
	MemoryRequestBytes snapshot.Amount
	Containers         []Container
}

// Container is one entry of a pod's container lists.
type Container struct {
	Name string
	Type snapshot.ContainerType
	// ID is the runtime's id without a scheme, and PreviousID that of the
	// incarnation before; empty while the status does not have them.
	ID, PreviousID string
	// Runtime is that scheme, "containerd"; empty as long as ID is.
	Runtime string
	// Image is the name in the status where that is a name, else the one in
	// the spec: runtimes report a bare digest for an image that has no tag.
	Image              string
	CPURequestMillis   snapshot.Amount
	MemoryRequestBytes snapshot.Amount
	// OOMScoreAdj is what the kubelet's rule gives, unknown where that needs
	// the node's memory and it is not known.
	OOMScoreAdj snapshot.Amount
}

// factsOf turns an API object into facts. It accepts any pod, also one without
// a status. nodeMemoryBytes is 0 if unknown.
func factsOf(pod *corev1.Pod, nodeMemoryBytes int64) Pod {
	kind, workload := kubelet.Workload(pod)
	facts := Pod{
		UID:           string(pod.UID),
		CgroupUID:     cgroupUID(pod),
		Namespace:     pod.Namespace,
		Name:          pod.Name,
		Ended:         pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
		WorkloadKind:  kind,
		Workload:      workload,
		PriorityClass: pod.Spec.PriorityClassName,
		Policy:        pod.Annotations[PolicyAnnotation],
	}
	facts.CPURequestMillis, facts.MemoryRequestBytes = kubelet.PodRequests(pod)
	facts.Containers = make([]Container, 0, len(pod.Spec.Containers)+len(pod.Spec.InitContainers)+len(pod.Spec.EphemeralContainers))
	add := func(c *corev1.Container, t snapshot.ContainerType) {
		facts.Containers = append(facts.Containers, containerFacts(pod, c, t, nodeMemoryBytes))
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], snapshot.AppContainer)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if kubelet.IsSidecar(c) {
			add(c, snapshot.SidecarContainer)
		} else {
			add(c, snapshot.InitContainer)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		add(&c, snapshot.EphemeralContainer)
	}
	return facts
}

func containerFacts(pod *corev1.Pod, c *corev1.Container, t snapshot.ContainerType, nodeMemoryBytes int64) Container {
	status := kubelet.Status(pod, c.Name)
	facts := Container{Name: c.Name, Type: t, Image: c.Image}
	facts.CPURequestMillis, facts.MemoryRequestBytes = kubelet.Requests(c, status)
	if adj, known := kubelet.OOMScoreAdj(pod, c, nodeMemoryBytes); known {
		facts.OOMScoreAdj = snapshot.Amount{N: adj, Known: true}
	}
	if status == nil {
		return facts
	}
	facts.Runtime, facts.ID = splitID(status.ContainerID)
	if ended := status.LastTerminationState.Terminated; ended != nil {
		_, facts.PreviousID = splitID(ended.ContainerID)
	}
	if status.Image != "" && !strings.HasPrefix(status.Image, "sha256:") {
		facts.Image = status.Image
	}
	return facts
}

// splitID splits an id as the API has it, "containerd://<id>".
func splitID(id string) (runtime, bare string) {
	if runtime, bare, ok := strings.Cut(id, "://"); ok {
		return runtime, bare
	}
	return "", id
}

func cgroupUID(pod *corev1.Pod) string {
	if hash := pod.Annotations[kubelet.MirrorAnnotation]; hash != "" {
		return hash
	}
	return string(pod.UID)
}
