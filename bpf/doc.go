// SPDX-License-Identifier: Apache-2.0

// Package bpf owns what all eBPF programs of the agent have in common: whether
// they are wanted (Mode), why one of them is not there (Unavailable), what each
// says of itself (Status), and the kernel's own description of its types. The
// programs are in the packages below it, each with its C source and its
// compiled objects. None of them may know containers, pods, metrics or HTTP:
// they speak of cgroup ids and of the kernel's numbers.
//
// The objects are compiled once (CO-RE) and committed. `make generate` writes
// them, `make generate-check` holds that the sources still give the same bytes.
package bpf
