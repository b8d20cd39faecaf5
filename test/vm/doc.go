// SPDX-License-Identifier: Apache-2.0

// Package vm boots Debian's kernels in QEMU's software emulation and runs
// programs in them: no KVM, no root, no disk image, no program in the machine
// but its own init.
//
//	m, err := vm.Start(ctx, vm.Config{Arch: "arm64", Suite: "trixie"})
//	...
//	defer m.Close()
//	code, err := m.Run(ctx, vm.Command{Path: "/bin/agent"}, os.Stdout, os.Stderr)
//
// It owns the kernels' cache, the initial RAM disk, the emulator's process and
// the way into the guest (package wire; package guest is the other end). It
// must not know what runs inside: tests are the business of package gotest.
// README.md has the figures: boot time, size, memory.
package vm
