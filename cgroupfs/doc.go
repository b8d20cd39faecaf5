// SPDX-License-Identifier: Apache-2.0

// Package cgroupfs reads cgroup v2: it finds the root and the kubepods tree
// under it, knows how the kubelet and the container runtimes name their
// cgroups, follows what is made and removed, and reads the control files into
// Readings. It owns the knowledge of the files' formats and of the kernel's
// rules for them. It must not know Kubernetes objects, container runtimes'
// APIs, metrics or HTTP.
package cgroupfs
