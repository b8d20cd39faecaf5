// SPDX-License-Identifier: Apache-2.0

// Package exporter turns snapshots into what leaves the node over HTTP:
// Prometheus expositions under slicewatch's own names and under cAdvisor's,
// and the server that answers for them. It owns the table of metric families,
// from which the exposition and its reference both come. It must not know
// where a snapshot's values come from: no cgroup files, no Kubernetes client,
// no container runtime, no eBPF.
package exporter
