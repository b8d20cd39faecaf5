// SPDX-License-Identifier: Apache-2.0

// Package events tells of what happens rarely and leaves no trace in files: the
// birth of a cgroup below kubepods, its death with its last counters, what its
// tasks used even after that, and OOM kills with the limit that was hit. All come through one bounded ring, in the
// order in which they happened; what found no room there is counted. It owns
// the programs, the ring and what its records mean. It must not know what a
// pod or a container is called, or what is done with an event.
package events

//go:generate go tool bpf2go -cc clang-14 -no-global-types -target amd64,arm64 -type birth -type death -type late -type cpu_times -type kill -type tally -type victim -cflags "-O2 -g -Wall -Werror -I../include" program events.bpf.c
