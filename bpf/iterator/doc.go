// SPDX-License-Identifier: Apache-2.0

// Package iterator reads every cgroup below kubepods in one pass of an eBPF
// cgroup iterator, and fills the same Readings that cgroupfs fills from files.
// It owns the program, what its records mean and the arithmetic that the
// control files apply to the kernel's numbers. It must not know containers,
// when to sweep, or what happens to the Readings.
package iterator

//go:generate go tool bpf2go -cc clang-14 -no-global-types -target amd64,arm64 -type record -type walk -cflags "-O2 -g -Wall -Werror -I../include" program walk.bpf.c
