// SPDX-License-Identifier: Apache-2.0

// Package sizing turns snapshots into hints while the agent runs. It feeds
// histories (package history) with what each sweep found, decides when a
// container's hint is made anew (package hints) and which containers are observed
// for a minute, period by period where eBPF tells of them and by polls of cpu.stat
// every 100 ms where it does not, and keeps the histories on the node over restarts. It must not know how a hint is computed, Kubernetes clients, or how
// hints are shown.
package sizing
