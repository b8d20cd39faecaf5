// SPDX-License-Identifier: Apache-2.0

//go:build linux

package workloads

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

// stages are the stored manifests in the order of starting, with the
// containers that run once everything does. A pod's name is a prefix where a
// controller makes the rest of it. The static pod is in the namespace's stage.
//
// One stage after the other: a kubelet under emulation that has to start
// twenty pods at once gets none of them running for minutes, and those that
// burn CPU come last.
var stages = []stage{
	{"qos.yaml", map[string][]string{
		"guaranteed": {"main"}, "burstable-limits": {"main"}, "burstable-requests": {"main"},
		BestEffort: {"main"}, "pod-level": {"main"}, "critical": {"main"}, "static-" + node.Name: {"main"},
	}},
	{"containers.yaml", map[string][]string{"multi": {"side", "a", "b", "c"}, "starting": {"wait"}}},
	{"workloads.yaml", map[string][]string{
		"web-": {"main"}, "db-0": {"main"}, "per-node-": {"main"}, "once-": {"main"}, "often-": {"main"},
	}},
	{"stress.yaml", map[string][]string{
		Throttled: {"burn"}, High: {"hog"}, Resized: {"main"},
		// Its container may be down at any time: see missing.
		OOM: {},
	}},
}

type stage struct {
	manifest string
	// pods maps a pod's name to its running containers.
	pods map[string][]string
}

// Missing returns what does not run of what is expected, as pod/container.
// The ephemeral container and the resize count once they are asked for. The
// pod that is killed counts once it was.
func Missing(pods []corev1.Pod) []string {
	var missing []string
	for _, one := range stages {
		missing = append(missing, one.missing(pods)...)
	}
	return missing
}

func (s stage) missing(pods []corev1.Pod) []string {
	var missing []string
	for name, containers := range s.pods {
		pod := find(pods, name)
		if pod == nil {
			missing = append(missing, name)
			continue
		}
		for _, ephemeral := range pod.Spec.EphemeralContainers {
			containers = append(slices.Clip(containers), ephemeral.Name)
		}
		for _, container := range containers {
			if !running(pod, container) {
				missing = append(missing, pod.Name+"/"+container)
			}
		}
		switch {
		case pod.Name == OOM && !killed(pod):
			missing = append(missing, OOM+"'s kill")
		case pod.Name == Resized && resizing(pod):
			missing = append(missing, Resized+"'s new resources")
		}
	}
	slices.Sort(missing)
	return missing
}

func find(pods []corev1.Pod, name string) *corev1.Pod {
	for i := range pods {
		if pods[i].Name == name || strings.HasSuffix(name, "-") && strings.HasPrefix(pods[i].Name, name) {
			return &pods[i]
		}
	}
	return nil
}

// Statuses returns the statuses of all of a pod's containers.
func Statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
}

func running(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(Statuses(pod), func(s corev1.ContainerStatus) bool {
		return s.Name == container && s.State.Running != nil
	})
}

func killed(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		for _, ended := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if ended != nil && ended.Reason == "OOMKilled" {
				return true
			}
		}
		return false
	})
}

// resizing says whether the container's actual requests are not yet those of
// the spec.
func resizing(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Resources == nil {
			return true
		}
		for name, want := range pod.Spec.Containers[0].Resources.Requests {
			if got := status.Resources.Requests[name]; got.Cmp(want) != 0 {
				return true
			}
		}
	}
	return false
}
