// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loadModule loads one module, already decompressed. One that the kernel has
// built in or already loaded is no error.
func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

// swapOn formats device as swap space and swaps on it. The layout is the
// kernel's union swap_header (include/linux/swap.h), version 1.
func swapOn(device string) error {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	defer file.Close()
	size, err := file.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("swap: size of %s: %w", device, err)
	}
	page := os.Getpagesize()
	if size < int64(10*page) {
		return fmt.Errorf("swap: %s has only %d bytes", device, size)
	}
	header := make([]byte, page)
	binary.NativeEndian.PutUint32(header[1024:], 1)                          // version
	binary.NativeEndian.PutUint32(header[1028:], uint32(size/int64(page)-1)) // last_page
	copy(header[page-10:], "SWAPSPACE2")
	if _, err := file.WriteAt(header, 0); err != nil {
		return fmt.Errorf("swap: write header of %s: %w", device, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("swap: write header of %s: %w", device, err)
	}
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("swap on %s: %w", device, errno)
	}
	return nil
}
