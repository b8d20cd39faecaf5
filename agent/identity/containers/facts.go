// SPDX-License-Identifier: Apache-2.0

package containers

import "github.com/containerd/containerd/v2/core/containers"

// The labels of the CRI plugin: internal/cri/labels in containerd, and
// pkg/kubelet/types/labels.go in Kubernetes, whose labels it passes on.
const (
	labelKind      = "io.cri-containerd.kind"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPod       = "io.kubernetes.pod.name"
	labelPodUID    = "io.kubernetes.pod.uid"
	labelContainer = "io.kubernetes.container.name"

	kindContainer = "container"
	kindSandbox   = "sandbox"
)

// Container is what containerd says of a container.
type Container struct {
	ID string
	// Sandbox marks a pod's pause container. It has no Name.
	Sandbox   bool
	Namespace string
	Pod       string
	// PodUID is the UID that the kubelet uses on the node: for a static pod
	// the hash of its manifest.
	PodUID string
	Name   string
	// Image is the reference that the image was found under.
	Image string
}

// factsOf returns false for a container that no kubelet asked for: ctr, nerdctl
// and crictl can put theirs into the same namespace, without the names.
func factsOf(c containers.Container) (Container, bool) {
	facts := Container{
		ID:        c.ID,
		Sandbox:   c.Labels[labelKind] == kindSandbox,
		Namespace: c.Labels[labelNamespace],
		Pod:       c.Labels[labelPod],
		PodUID:    c.Labels[labelPodUID],
		Name:      c.Labels[labelContainer],
		Image:     c.Image,
	}
	named := facts.Namespace != "" && facts.Pod != "" && facts.PodUID != ""
	switch c.Labels[labelKind] {
	case kindSandbox:
		return facts, named
	case kindContainer:
		return facts, named && facts.Name != ""
	}
	return Container{}, false
}
