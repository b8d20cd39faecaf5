// SPDX-License-Identifier: Apache-2.0

// Package sizing turns snapshots into hints while the agent runs. It feeds
// histories (package history) with what each sweep found, decides when a
// container's hint is made anew (package hints) and which containers' cpu.stat
// is polled every 100 ms for a minute, and keeps the histories on the node over
// restarts. It must not know how a hint is computed, Kubernetes clients, or how
// hints are shown.
package sizing
