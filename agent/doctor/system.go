// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// System is what the checks learn from system calls, apart from files, so that
// a test can stand in for a machine.
type System struct {
	KernelRelease string // as uname -r
	Machine       string // as uname -m: "aarch64", "x86_64"
	PageBytes     int
	// OpenFiles is RLIMIT_NOFILE of this process. The Go runtime has raised
	// the soft limit to the hard one when it started.
	OpenFiles uint64
	// KeptFiles returns how many control files below a cgroup root are kept
	// open at most, when so many are wanted (0: the usual number).
	KeptFiles func(rootDir string, wanted int) (int, error)
	// Capabilities is the effective set, bit n for capability n.
	Capabilities uint64
	// CheckRoot is cgroupfs.CheckRoot.
	CheckRoot func(dir string) error
	// Writable returns nil if this process may write in the directory, else
	// the reason as access(2) gives it.
	Writable func(dir string) error
	// OnOverlay says whether the directory is on an overlay file system, the
	// kind that a container's own files are on.
	OnOverlay func(dir string) bool
}

// ThisSystem asks the machine that it runs on.
func ThisSystem() (System, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return System{}, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return System{}, fmt.Errorf("ask for the limit on open files: %w", err)
	}
	capabilities, err := effectiveCapabilities()
	if err != nil {
		return System{}, err
	}
	return System{
		KernelRelease: unix.ByteSliceToString(name.Release[:]),
		Machine:       unix.ByteSliceToString(name.Machine[:]),
		PageBytes:     os.Getpagesize(),
		OpenFiles:     files.Cur,
		KeptFiles:     keptFiles,
		Capabilities:  capabilities,
		CheckRoot:     cgroupfs.CheckRoot,
		Writable:      func(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) },
		OnOverlay: func(dir string) bool {
			var stat unix.Statfs_t
			return unix.Statfs(dir, &stat) == nil && stat.Type == unix.OVERLAYFS_SUPER_MAGIC
		},
	}, nil
}

func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // version 3 has two words of 32 bits
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("ask for this process's capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// keptFiles asks a reader as the agent has it.
func keptFiles(rootDir string, wanted int) (int, error) {
	reader, err := cgroupfs.NewFileReader(rootDir, cgroupfs.FileReaderConfig{MaxOpen: wanted})
	if err != nil {
		return 0, err
	}
	return reader.Stats().MaxOpen, reader.Close()
}
