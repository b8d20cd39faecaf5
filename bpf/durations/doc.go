// SPDX-License-Identifier: Apache-2.0

// Package durations learns from the kernel how long containers were held: by
// their CPU quota, by memory.high, and in reclaim at a memory limit. It owns
// the two programs, what their maps mean, and the way from single CPUs' holds
// to stretches of time in which the container was held. A third program tells
// what became of each period of the quota of a few. It must not know how a
// histogram is exported, what a container is called, or when to look.
package durations

//go:generate go tool bpf2go -cc clang-14 -no-global-types -target amd64,arm64 -type interval -type excess -cflags "-O2 -g -Wall -Werror -I../include" throttle throttle.bpf.c
//go:generate go tool bpf2go -cc clang-14 -no-global-types -target amd64,arm64 -type stall_key -type stall_sum -cflags "-O2 -g -Wall -Werror -I../include" stall stall.bpf.c
//go:generate go tool bpf2go -cc clang-14 -no-global-types -target amd64,arm64 -type period -cflags "-O2 -g -Wall -Werror -I../include" periods periods.bpf.c
