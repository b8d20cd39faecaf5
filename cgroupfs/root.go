// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Mode is the set-up of cgroups that a directory shows.
type Mode uint8

// The set-ups.
const (
	// ModeNone: the directory is on no cgroup file system.
	ModeNone Mode = iota
	// ModeUnified: cgroup v2 alone.
	ModeUnified
	// ModeHybrid: cgroup v1 controllers, and a cgroup v2 tree at "unified"
	// that has none of them.
	ModeHybrid
	// ModeLegacy: cgroup v1 alone.
	ModeLegacy
)

// String returns the mode as messages spell it.
func (m Mode) String() string {
	switch m {
	case ModeUnified:
		return "cgroup v2 (unified)"
	case ModeHybrid:
		return "cgroup v1 with an empty cgroup v2 tree (hybrid)"
	case ModeLegacy:
		return "cgroup v1 (legacy)"
	}
	return "not a cgroup file system"
}

// DetectMode tells which set-up of cgroups dir shows, by the types of the file
// systems mounted at dir and below it. The error is that of statfs(2) on dir.
func DetectMode(dir string) (Mode, error) {
	kind, err := fileSystemOf(dir)
	if err != nil {
		return ModeNone, err
	}
	switch kind {
	case unix.CGROUP2_SUPER_MAGIC:
		return ModeUnified, nil
	case unix.CGROUP_SUPER_MAGIC:
		return ModeLegacy, nil
	}
	// systemd mounts each v1 controller, and in the hybrid set-up "unified", on
	// a tmpfs at /sys/fs/cgroup.
	if kind, err := fileSystemOf(filepath.Join(dir, "unified")); err == nil && kind == unix.CGROUP2_SUPER_MAGIC {
		return ModeHybrid, nil
	}
	for _, controller := range [...]string{"memory", "cpu", "cpu,cpuacct", "systemd"} {
		if kind, err := fileSystemOf(filepath.Join(dir, controller)); err == nil && kind == unix.CGROUP_SUPER_MAGIC {
			return ModeLegacy, nil
		}
	}
	return ModeNone, nil
}

// RootError says why a directory cannot serve as the cgroup root and what mends
// it. Match it with errors.As.
type RootError struct {
	Dir  string
	Mode Mode
	// Mend is what the operator can do, in one sentence.
	Mend string
	// Err is the system's error, if there was one.
	Err error
}

// Error names the directory, what it is, and the mend.
func (e *RootError) Error() string {
	what := "it is " + e.Mode.String()
	if e.Err != nil {
		what = e.Err.Error()
	}
	return fmt.Sprintf("%s cannot be used as cgroup root: %s; %s", e.Dir, what, e.Mend)
}

// Unwrap returns the system's error.
func (e *RootError) Unwrap() error { return e.Err }

const (
	mendMount = "in a container mount the host's /sys/fs/cgroup there (read-only suffices), " +
		"else give the mount point of cgroup v2 with --path.cgroupfs"
	mendBoot = "boot with the kernel parameter systemd.unified_cgroup_hierarchy=1, " +
		"or use a distribution release that has cgroup v2 by default"
	mendPermission = "run as root, or let the agent's user read and search this directory"
)

// CheckRoot returns nil when dir is a readable cgroup v2 mount with the
// controllers that say something about containers, else a *RootError. NewTree
// does not call it, so that a recorded tree in ordinary directories can be
// followed as well.
func CheckRoot(dir string) error {
	mode, err := DetectMode(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &RootError{Dir: dir, Mode: mode, Mend: mendPermission, Err: err}
	case err != nil:
		return &RootError{Dir: dir, Mode: mode, Mend: mendMount, Err: err}
	case mode == ModeLegacy || mode == ModeHybrid:
		return &RootError{Dir: dir, Mode: mode, Mend: mendBoot}
	case mode != ModeUnified:
		return &RootError{Dir: dir, Mode: mode, Mend: mendMount}
	}
	if _, err := os.ReadDir(dir); err != nil {
		return &RootError{Dir: dir, Mode: mode, Mend: mendPermission, Err: err}
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return &RootError{Dir: dir, Mode: mode, Mend: mendPermission, Err: err}
	}
	return checkControllers(dir, controllers)
}

// checkControllers refuses the v2 half of a hybrid host, which looks like
// cgroup v2 in every respect but has no controller to read from.
func checkControllers(dir string, controllers []byte) error {
	for name := range bytes.FieldsSeq(controllers) {
		if string(name) == "cpu" || string(name) == "memory" {
			return nil
		}
	}
	return &RootError{
		Dir: dir, Mode: ModeHybrid, Mend: mendBoot,
		Err: fmt.Errorf("its cgroup.controllers has neither cpu nor memory (%q): cgroup v1 holds them", bytes.TrimSpace(controllers)),
	}
}

// fileSystemOf returns the magic number of the file system at dir.
func fileSystemOf(dir string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == nil {
			return int64(st.Type), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
}
