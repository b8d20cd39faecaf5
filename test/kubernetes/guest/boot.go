// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
)

const (
	disk    = "/dev/vda"
	newRoot = "/newroot"
	// nodeFiles is what the host wants on the disk for this start.
	nodeFiles = "/nodefiles"
	// diskTime is how long the disk may take to appear.
	diskTime = 30 * time.Second
)

type mount struct {
	fstype, target, data string
	flags                uintptr
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make mount point %s: %w", m.target, err)
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// boot runs in the initial RAM disk and ends by becoming the disk's process 1.
// A container needs a root that pivot_root can leave, which the RAM disk is not.
func boot() error {
	err := mountAll([]mount{
		{fstype: "proc", target: "/proc"},
		{fstype: "sysfs", target: "/sys"},
		{fstype: "devtmpfs", target: "/dev"},
	})
	if err != nil {
		return err
	}
	settings, err := readSettings(filepath.Join(nodeFiles, guestapi.SettingsFile))
	if err != nil {
		return err
	}
	for _, path := range settings.Modules {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	if err := mountDisk(); err != nil {
		return err
	}
	if err := copyOver(newRoot, nodeFiles); err != nil {
		return fmt.Errorf("copy the node's files: %w", err)
	}
	for _, target := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(target, newRoot+target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the disk: %w", target, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	next := guestapi.Program
	if settings.Systemd {
		next = "/usr/lib/systemd/systemd"
	}
	return fmt.Errorf("become %s: %w", next, unix.Exec(next, []string{next}, environment()))
}

// copyOver copies files and links below from to the same places below to,
// instead of what is there.
func copyOver(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		place := filepath.Join(to, strings.TrimPrefix(path, from))
		if entry.IsDir() {
			return os.MkdirAll(place, 0o755)
		}
		if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if entry.Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, place)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(place, content, info.Mode().Perm())
	})
}

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

// mountDisk waits for the disk, which the kernel finds some time after its
// driver is loaded.
func mountDisk() error {
	deadline := time.Now().Add(diskTime)
	for {
		_, err := os.Stat(disk)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for the disk: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(disk, newRoot, "ext4", unix.MS_NOATIME, "nobarrier"); err != nil {
		return fmt.Errorf("mount %s: %w", disk, err)
	}
	return nil
}

// initialise is process 1 of a node without systemd.
func initialise(settings guestapi.Settings) error {
	err := mountAll([]mount{
		{fstype: "devpts", target: "/dev/pts"},
		{fstype: "tmpfs", target: "/dev/shm"},
		{fstype: "tmpfs", target: "/run", data: "mode=0755"},
		{fstype: "tmpfs", target: "/tmp", data: "mode=1777"},
		{fstype: "cgroup2", target: cgroupRoot, data: "nsdelegate,memory_recursiveprot"},
		{fstype: "bpf", target: "/sys/fs/bpf"},
		{fstype: "tracefs", target: "/sys/kernel/tracing"},
	})
	if err != nil {
		return err
	}
	// The kubelet passes mounts on to containers.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the root mount: %w", err)
	}
	if err := setUpNetwork(settings); err != nil {
		return err
	}
	console("disk and network are up")
	// The helper proper is a child: it waits for the programs that it starts,
	// and a process that reaps every orphan would take them away from it.
	child, err := os.StartProcess(guestapi.Program, []string{guestapi.Program, wordServe}, &os.ProcAttr{
		Env: environment(), Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("start the helper: %w", err)
	}
	return reapUntil(child.Pid)
}

// reapUntil waits for any child, orphans included, until pid has ended.
func reapUntil(pid int) error {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		case ended == pid:
			return fmt.Errorf("the helper ended with wait status %#x", int(status))
		}
	}
}

func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
}
