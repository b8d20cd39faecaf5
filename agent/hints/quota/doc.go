// SPDX-License-Identifier: Apache-2.0

// Package quota finds the CPU limit that a container needs from a window of
// per-period records, a minute or so, of which many may be throttled. It owns
// that arithmetic. It must not know where records come from, what is done with
// the answer, or any clock.
//
// Use is clipped by the quota, so its averages cannot find the limit. What can
// is the work that wanted to be done at once: throttled periods in a row are one
// run, the run's use is the work of the bursts in it, and a burst needs the
// limit at which its work, at the concurrency that it had, is done within a
// period. The limit is the 99th percentile of that need.
package quota
