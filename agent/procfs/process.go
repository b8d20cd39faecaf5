// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrGone says that a process ended before or while it was read. Normal.
var ErrGone = errors.New("the process is gone")

// FS reads one /proc. It is for one goroutine and allocates nothing per
// process, save for errors other than ErrGone.
type FS struct {
	dir  *os.File
	path []byte
	buf  []byte
}

// Open opens the proc file system at dir.
func Open(dir string) (*FS, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the proc file system: %w", err)
	}
	return &FS{dir: file, buf: make([]byte, 4096)}, nil
}

// Close lets go of the directory.
func (p *FS) Close() error { return p.dir.Close() }

// OOMScore returns the kernel's badness of a process, 0 to about 2000, as the
// OOM killer would weigh it now (fs/proc/base.c, proc_oom_score).
func (p *FS) OOMScore(pid int) (int64, error) { return p.number(pid, "oom_score") }

// OOMScoreAdj returns a process's adjustment, -1000 to 1000.
func (p *FS) OOMScoreAdj(pid int) (int64, error) { return p.number(pid, "oom_score_adj") }

// Stat is what /proc/<pid>/stat tells of a process.
type Stat struct {
	// Start is when it started, as time since boot in steps of 10 ms.
	Start time.Duration
	// InRuntime says that it is still the container runtime's own code
	// ("runc:[2:INIT]"), not yet the container's.
	InRuntime bool
}

const (
	// statStart is the field of /proc/<pid>/stat after the command, counted
	// from 0 (Documentation/filesystems/proc.rst, table 1-4).
	statStart = 19
	// clockTick is USER_HZ, which is 100 on every architecture that Go knows.
	clockTick = 10 * time.Millisecond
	maxTicks  = int64(1<<63-1) / int64(clockTick)
)

// Stat reads /proc/<pid>/stat.
func (p *FS) Stat(pid int) (Stat, error) {
	content, err := p.read(pid, "stat")
	if err != nil {
		return Stat{}, err
	}
	s, ok := parseStat(content)
	if !ok {
		return Stat{}, fmt.Errorf("read /proc/%d/stat: unexpected content %.100q", pid, content)
	}
	return s, nil
}

// inRuntime knows the runtimes' commands, as they name their processes until these
// execute the container's program: runc's libcontainer/nsenter/nsexec.c, crun's
// own name, youki's crates/libcontainer/src/process.
func inRuntime(command []byte) bool {
	return string(command) == "runc" || string(command) == "crun" ||
		bytes.HasPrefix(command, []byte("runc:[")) || bytes.HasPrefix(command, []byte("youki:["))
}

func parseStat(content []byte) (Stat, bool) {
	// The command is in parentheses and may hold some itself.
	open, shut := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
	if open < 0 || shut < open {
		return Stat{}, false
	}
	command, rest := content[open+1:shut], content[shut+1:]
	s := Stat{InRuntime: inRuntime(command)}
	for i := 0; ; i++ {
		rest = bytes.TrimLeft(rest, " ")
		end := bytes.IndexAny(rest, " \n")
		if end <= 0 {
			return Stat{}, false
		}
		if i == statStart {
			ticks, err := strconv.ParseInt(string(rest[:end]), 10, 64)
			s.Start = time.Duration(min(ticks, maxTicks)) * clockTick
			return s, err == nil && ticks >= 0
		}
		rest = rest[end:]
	}
}

// ResidentPages returns how many pages a process holds, from /proc/<pid>/statm.
func (p *FS) ResidentPages(pid int) (int64, error) {
	content, err := p.read(pid, "statm")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(content, []byte(" "))
	field, _, _ := bytes.Cut(rest, []byte(" "))
	pages, err := strconv.ParseInt(string(field), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read /proc/%d/statm: unexpected content %.100q", pid, content)
	}
	return pages, nil
}

func (p *FS) number(pid int, file string) (int64, error) {
	content, err := p.read(pid, file)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(string(bytes.TrimSuffix(content, []byte("\n"))), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read /proc/%d/%s: unexpected content %.100q", pid, file, content)
	}
	return v, nil
}

// read returns the first page of a process's file, valid until the next call.
func (p *FS) read(pid int, file string) ([]byte, error) {
	p.path = strconv.AppendInt(p.path[:0], int64(pid), 10)
	p.path = append(p.path, '/')
	p.path = append(p.path, file...)
	p.path = append(p.path, 0)
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, p.dir.Fd(), uintptr(unsafe.Pointer(&p.path[0])),
		unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return nil, p.failed(errno)
	}
	defer func() { _ = unix.Close(int(fd)) }()
	n, err := unix.Pread(int(fd), p.buf, 0)
	if err != nil {
		return nil, p.failed(err)
	}
	return p.buf[:n], nil
}

func (p *FS) failed(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("read %s/%s: %w", p.dir.Name(), p.path[:len(p.path)-1], err)
}
