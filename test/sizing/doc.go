// SPDX-License-Identifier: Apache-2.0

// Package sizing asks a real kernel whether hints are right: workloads run under
// a limit that is too low, the agent's own code gives its hint after a window,
// the hint is applied, and the next window tells. It owns the workloads, the
// search for the limit that would have been just enough, and the table of
// results. It must not know how a hint is made.
package sizing
