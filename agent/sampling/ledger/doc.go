// SPDX-License-Identifier: Apache-2.0

// Package ledger carries counters: over the restarts of a container, over the
// death of a pod and over restarts of the agent, so that what is exported
// never falls. It owns the bookkeeping of series and of the cgroups
// ("incarnations") that fed them, and the encoding of both for the state
// directory. It must not know where readings come from, what a metric is
// called, or how the encoded state reaches a disk.
package ledger
