// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Commands of bpf(2), linux/bpf.h.
const (
	cmdLinkCreate = 28
	cmdIterCreate = 33
)

// order is enum bpf_cgroup_iter_order.
type order uint32

const (
	selfOnly    order = 1 // the cgroup alone
	descendants order = 2 // it and all below it, parents first
)

// attach ties the program to a cgroup, whose directory is open as cgroupFD, and
// returns the link's descriptor. cilium/ebpf 0.22 cannot say which cgroup an
// iterator is for (link.AttachIter knows maps only), hence the system call.
func attach(program *ebpf.Program, cgroupFD int, o order) (int, error) {
	info := struct { // union bpf_iter_link_info, cgroup
		order    order
		cgroupFD uint32
		cgroupID uint64
	}{order: o, cgroupFD: uint32(cgroupFD)}
	attr := struct { // union bpf_attr, link_create
		programFD, targetFD, attachType, flags uint32
		info                                   uint64
		infoBytes                              uint32
		_                                      [36]byte
	}{
		programFD: uint32(program.FD()), attachType: uint32(ebpf.AttachTraceIter),
		info: uint64(uintptr(unsafe.Pointer(&info))), infoBytes: uint32(unsafe.Sizeof(info)),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmdLinkCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, fmt.Errorf("attach the iterator to a cgroup: %w", errno)
	}
	return int(fd), nil
}

// run walks once: a new instance of the iterator, read until its end. It
// allocates nothing, which is why the library's reader is not used.
func run(linkFD int) error {
	attr := struct{ linkFD, flags uint32 }{linkFD: uint32(linkFD)}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmdIterCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return fmt.Errorf("open the iterator: %w", errno)
	}
	defer unix.Close(int(fd))
	// The program writes no text: the first read already returns the end.
	var text [8]byte
	for {
		n, err := unix.Read(int(fd), text[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("walk the cgroups: %w", err)
		case n == 0:
			return nil
		}
	}
}

// openDir opens a cgroup's directory, to name it to the kernel.
func openDir(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
