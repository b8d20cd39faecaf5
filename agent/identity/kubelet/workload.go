// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StaticPod is the workload kind of pods that the kubelet reads from manifests
// on the node. Their owner in the API is the Node, which says nothing about
// what they are.
const StaticPod = "StaticPod"

// The labels that carry the last part of a ReplicaSet's name:
// DefaultDeploymentUniqueLabelKey in k8s.io/api/apps/v1, and its counterpart
// in Argo Rollouts.
const (
	podTemplateHash         = "pod-template-hash"
	rolloutsPodTemplateHash = "rollouts-pod-template-hash"
)

// Workload returns the kind and name of what a user would edit to change the
// pod. Names alone tell; the owners of the owner are never asked for:
//
//   - ReplicaSet whose name ends in the pod's pod-template-hash: the Deployment
//     before it, or the Rollout where the label is that of Argo Rollouts;
//   - Job named as the CronJob controller names them: the CronJob;
//   - another controller: that one;
//   - static pod: StaticPod, named without the node name at its end, so that
//     it is one workload over all nodes;
//   - no controller: Pod and its own name.
func Workload(pod *corev1.Pod) (kind, name string) {
	if IsStatic(pod) {
		return StaticPod, strings.TrimSuffix(pod.Name, "-"+pod.Spec.NodeName)
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return "Pod", pod.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		if name, ok := beforeHash(owner.Name, pod.Labels[podTemplateHash]); ok {
			return "Deployment", name
		}
		if name, ok := beforeHash(owner.Name, pod.Labels[rolloutsPodTemplateHash]); ok {
			return "Rollout", name
		}
	case "Job":
		if cronJob, ok := cronJobOf(owner.Name, pod.CreationTimestamp.Time); ok {
			return "CronJob", cronJob
		}
	}
	return owner.Kind, owner.Name
}

// WorkloadLabels returns the pod labels that Workload reads.
func WorkloadLabels() []string { return []string{podTemplateHash, rolloutsPodTemplateHash} }

func beforeHash(replicaSet, hash string) (string, bool) {
	if hash == "" {
		return "", false
	}
	name, ok := strings.CutSuffix(replicaSet, "-"+hash)
	return name, ok && name != ""
}

// cronJobOf takes apart the name that getJobName in
// pkg/controller/cronjob/utils.go gives to a Job: the CronJob's name and the
// scheduled time in minutes since 1970. People end names of Jobs in dates,
// which look the same (20261121), so the time must also be one that fits the
// pod: not after it was made (clocks may differ by a day) and at most a year
// before it, for Jobs that retry.
func cronJobOf(job string, podCreated time.Time) (string, bool) {
	dash := strings.LastIndexByte(job, '-')
	if dash <= 0 {
		return "", false
	}
	digits := job[dash+1:]
	minutes, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || digits[0] == '0' {
		return "", false
	}
	age := podCreated.Sub(time.Unix(int64(minutes)*60, 0))
	if age < -24*time.Hour || age > 366*24*time.Hour {
		return "", false
	}
	return job[:dash], true
}
