// SPDX-License-Identifier: Apache-2.0

// Package containers asks containerd who a container is. containerd's CRI
// plugin labels every container and every pod sandbox with its Kubernetes
// names when it makes it, before it runs, and needs no API server for that. It
// owns the containerd client and must not know cgroups, Kubernetes objects or
// who reads the names.
package containers
