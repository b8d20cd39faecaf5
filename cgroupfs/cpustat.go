// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// CPUStat is the open cpu.stat of one cgroup, for reading it often and apart
// from everything else. It is for one goroutine.
type CPUStat struct {
	fd   int
	file controlFile
	path string
	text [4096]byte
}

// OpenCPUStat opens cpu.stat of a cgroup below rootDir. The error is ErrGone if
// there is no such cgroup any more, or another one has its path.
func OpenCPUStat(rootDir string, c *Cgroup) (*CPUStat, error) {
	dir, err := unix.Open(rootDir+c.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, gone(c)
	}
	if err != nil {
		return nil, fmt.Errorf("open the cgroup %s: %w", c.Path, err)
	}
	defer closeReadOnly(dir)
	var stat unix.Stat_t
	if err := unix.Fstat(dir, &stat); err != nil {
		return nil, fmt.Errorf("stat the cgroup %s: %w", c.Path, err)
	}
	if stat.Ino != c.ID {
		return nil, gone(c)
	}
	files := controlFiles()
	i := slices.IndexFunc(files, func(f controlFile) bool { return f.name == CPUUsage.Info().File })
	fd, err := unix.Openat(dir, files[i].name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cpu.stat of %s: %w", c.Path, err)
	}
	return &CPUStat{fd: fd, file: files[i], path: c.Path}, nil
}

// Read sets the fields of cpu.stat in the Reading: those that the kernel has
// become present. The error is ErrGone once the cgroup was removed.
func (s *CPUStat) Read(into *Reading) error {
	n, err := unix.Pread(s.fd, s.text[:], 0)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("read cgroup %s: %w", s.path, ErrGone)
	case err != nil:
		return fmt.Errorf("read cpu.stat of %s: %w", s.path, err)
	}
	if problem := s.file.parse(&s.file, s.text[:n], into); problem != nil {
		problem.Cgroup = s.path
		return problem
	}
	return nil
}

// Close gives the descriptor back.
func (s *CPUStat) Close() { closeReadOnly(s.fd) }
