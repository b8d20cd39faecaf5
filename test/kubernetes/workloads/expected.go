// SPDX-License-Identifier: Apache-2.0

//go:build linux

package workloads

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

// workload is one object of the stored manifests that pods come from.
type workload struct {
	// object is its name, pod the pod's, or the beginning of it, up to a dash,
	// where a controller makes the rest.
	object, pod string
	// containers run once everything does.
	containers []string
}

// expected are all of them. The killed pod's container may be down at any
// time, so it is not listed; see missing.
var expected = []workload{
	{"guaranteed", "guaranteed", []string{"main"}},
	{"burstable-limits", "burstable-limits", []string{"main"}},
	{"burstable-requests", "burstable-requests", []string{"main"}},
	{BestEffort, BestEffort, []string{"main"}},
	{"critical", "critical", []string{"main"}},
	{PodLevel, PodLevel, []string{"main"}},
	{staticPod, staticPod + "-" + node.Name, []string{"main"}},
	{"multi", "multi", []string{"side", "a", "b", "c"}},
	{"starting", "starting", []string{"wait"}},
	{"web", "web-", []string{"main"}},
	{"db", StatefulPod, []string{"main"}},
	{"per-node", "per-node-", []string{"main"}},
	{"once", "once-", []string{"main"}},
	{"often", "often-", []string{"main"}},
	{Resized, Resized, []string{"main"}},
	{OOM, OOM, nil},
	{High, High, []string{"hog"}},
	{Throttled, Throttled, []string{"burn"}},
}

// Missing returns what does not run of what is expected, as pod/container.
// The ephemeral container and the resize count once they are asked for. The
// pod that is killed counts once it was.
func Missing(pods []corev1.Pod) []string {
	var missing []string
	for _, one := range expected {
		missing = append(missing, one.missing(pods)...)
	}
	return missing
}

// missingOf returns the same for one object.
func missingOf(object string, pods []corev1.Pod) []string {
	var missing []string
	for _, one := range expected {
		if one.object == object {
			missing = append(missing, one.missing(pods)...)
		}
	}
	return missing
}

func (w workload) missing(pods []corev1.Pod) []string {
	pod := find(pods, w.pod)
	if pod == nil {
		return []string{w.pod}
	}
	containers := slices.Clone(w.containers)
	for _, ephemeral := range pod.Spec.EphemeralContainers {
		containers = append(containers, ephemeral.Name)
	}
	var missing []string
	for _, container := range containers {
		if !running(pod, container) {
			missing = append(missing, pod.Name+"/"+container)
		}
	}
	switch {
	case pod.Name == OOM && !killed(pod):
		missing = append(missing, OOM+"'s kill")
	case resizes[pod.Name] != nil && resizing(pod):
		missing = append(missing, pod.Name+"'s new resources")
	}
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

// sigkilled is the exit status of a process that ended by SIGKILL.
const sigkilled = 128 + 9

func killed(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		for _, ended := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			// On a busy node containerd misses the OOM event, and the reason is
			// "Error"; nobody else kills it.
			if ended != nil && ended.ExitCode == sigkilled {
				return true
			}
		}
		return false
	})
}

// resizing says whether the container's actual resources are not yet those of
// the spec.
func resizing(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Resources == nil {
			return true
		}
		wanted := pod.Spec.Containers[0].Resources
		if differ(wanted.Requests, status.Resources.Requests) || differ(wanted.Limits, status.Resources.Limits) {
			return true
		}
	}
	return false
}

func differ(wanted, actual corev1.ResourceList) bool {
	for name, want := range wanted {
		if got := actual[name]; got.Cmp(want) != 0 {
			return true
		}
	}
	return false
}
