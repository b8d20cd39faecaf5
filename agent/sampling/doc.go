// SPDX-License-Identifier: Apache-2.0

// Package sampling turns the cgroups of a node into snapshots. At each tick it
// brings the set of cgroups up to date, reads each of them, joins it with its
// names, carries its counters (package ledger), makes what the agent must not
// forget safe, and publishes one snapshot. It owns the order of these steps
// and what a container, a pod and a class are made of. It must not know file
// formats, Kubernetes clients, metric names or HTTP.
package sampling
