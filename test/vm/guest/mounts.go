// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

type mount struct {
	fstype, target, data string
	flags                uintptr
	// optional mounts are left out where the kernel does not have them.
	optional bool
}

func mountAll() error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	mounts := []mount{
		{fstype: "proc", target: "/proc", flags: safe},
		{fstype: "sysfs", target: "/sys", flags: safe},
		{fstype: "devtmpfs", target: "/dev", data: "mode=0755"},
		{fstype: "devpts", target: "/dev/pts", optional: true},
		{fstype: "tmpfs", target: "/dev/shm", data: "mode=1777"},
		{fstype: "tmpfs", target: "/tmp", data: "mode=1777"},
		{fstype: "tmpfs", target: "/run", data: "mode=0755"},
		{fstype: "cgroup2", target: cgroupRoot, flags: safe, data: "nsdelegate,memory_recursiveprot"},
		{fstype: "bpf", target: "/sys/fs/bpf", flags: safe, optional: true},
		{fstype: "tracefs", target: "/sys/kernel/tracing", flags: safe, optional: true},
		{fstype: "debugfs", target: "/sys/kernel/debug", flags: safe, optional: true},
	}
	for _, m := range mounts {
		// Below sysfs and proc the kernel has made the mount points that it
		// supports, and refuses to make others.
		if err := os.MkdirAll(m.target, 0o755); err != nil && !m.optional {
			return fmt.Errorf("make mount point %s: %w", m.target, err)
		}
		err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		if err != nil && !m.optional {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return enableControllers(cgroupRoot)
}

// enableControllers hands every controller that dir has to its children.
func enableControllers(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("list controllers of %s: %w", dir, err)
	}
	for name := range strings.FieldsSeq(string(text)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644)
		if err != nil {
			return fmt.Errorf("enable controller %s below %s: %w", name, dir, err)
		}
	}
	return nil
}
