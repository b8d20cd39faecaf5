// SPDX-License-Identifier: Apache-2.0

// Package kubelet holds rules of the kubelet and of the controllers as pure
// functions over a pod: its QoS class, the oom_score_adj of its containers,
// their requests as they are now, and the workload that a pod stands for. It
// owns these rules and nothing else: it must not know where pods come from,
// cgroups, or who reads the answers.
package kubelet
