// SPDX-License-Identifier: Apache-2.0

// Package procfs reads what the agent needs of /proc: the processes' OOM
// scores, start times and names on the hot path, the node's size, pressure and
// boot beside it. It owns the formats of those files. It must not know
// cgroups, containers or metrics.
package procfs
