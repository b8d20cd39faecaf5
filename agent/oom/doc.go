// SPDX-License-Identifier: Apache-2.0

// Package oom keeps account of what the kernel's OOM killer did to containers:
// how many kills each container had, by the level whose limit was hit, and a
// record of each. It owns how kills are told from the kernel's events and from
// the counters of memory.events, and sees to it that none is counted twice. It
// must not know how events come out of the kernel, how cgroups are read, who
// asks for names, or how anything is shown.
//
// # Two sources, one count
//
// The kernel's event tells everything of a kill, but needs eBPF, and a buffer
// may overflow. The counters need nothing, but tell neither victim nor limit.
// Both are used at once, and reconciled for each container:
//
//   - Each kill that an event told explains a growth of oom_kill: one for a single
//     process, and for a group kill one for each process and one more, as the kernel
//     counts the first victim twice (mm/oom_kill.c, oom_kill_process).
//   - What grew and is not explained once the counters stood still for a sweep is a
//     kill that no event told. Without events that is every kill. With events it is
//     counted as well, and as missed.
//   - What an event told before the counters show it is remembered until they do.
//
// Where a container's cgroup went before its last counts were read, those of
// the levels above still have them: what no living child explains is given to
// the child that ended.
//
// # Scope
//
// An event says whose limit was hit. Without one, the limit's own cgroup counted
// "oom" in memory.events.local. Growth there at one level of the victim's path
// tells the scope, at none tells that it was the node, at several leaves it
// unknown.
package oom
