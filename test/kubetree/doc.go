// SPDX-License-Identifier: Apache-2.0

// Package kubetree builds a kubepods tree as the kubelet and a container
// runtime would, with real processes in it, on a real cgroup v2 kernel: for
// kernel tests, benchmarks and the demo. It needs root and is meant for a
// throw-away virtual machine.
//
// It owns the shape of the tree (names, limits, the kubelet's rules) and the
// life of its containers. It must not know the agent or any code under test:
// what it makes is the truth that others are compared with, which is why it
// has the kubelet's rules a second time. Only the QoS type is shared.
//
// The kubelet's rules are those of Kubernetes 1.36 (pkg/kubelet/cm,
// pkg/kubelet/qos, pkg/kubelet/kuberuntime), as seen on a real node.
package kubetree
