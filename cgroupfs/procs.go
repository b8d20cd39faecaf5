// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// The bounds of Procs. Containers that make cgroups of their own (systemd or
// Docker in a pod) have a few dozen; more is a mistake or an attack on the agent.
const (
	maxProcsDepth   = 8
	maxProcsCgroups = 512
	maxProcs        = 1 << 16
)

// Procs appends the process ids of c and of all cgroups below it, as
// cgroup.procs gives them: in no order, and in the numbers of the reader's pid
// namespace. A process that this namespace does not show has no number and is
// left out. A cgroup below c that vanishes meanwhile, or is threaded
// (EOPNOTSUPP; the processes are listed further up), is left out too. Of
// more than 8 levels, 512 cgroups or 65,536 processes the rest is left out
// and FileReaderStats.ProcsCut counts that.
//
// The error wraps ErrGone if c is gone, else the errno or a *ParseError; the
// slice then has what was read before.
func (r *FileReader) Procs(c *Cgroup, into []int) ([]int, error) {
	files, err := r.filesOf(c)
	if err != nil {
		return into, fmt.Errorf("read processes: %w", err)
	}
	dirFD, err := r.openDir(files)
	if errors.Is(err, ErrGone) {
		return into, err
	}
	if err != nil {
		return into, fmt.Errorf("read processes of cgroup %s: %w", c.Path, err)
	}
	defer closeReadOnly(dirFD)
	walk := procsWalk{reader: r, pids: into, mostPIDs: len(into) + maxProcs}
	err = walk.cgroup(dirFD, 0)
	if walk.cut {
		r.procsCut++
	}
	if isRemoved(err) && errors.Is(r.checkExists(files), ErrGone) {
		return walk.pids, gone(c)
	}
	if err = errors.Join(err, walk.below); err != nil {
		return walk.pids, procsFailed(c, err)
	}
	return walk.pids, nil
}

// procsFailed says which cgroup's processes could not be read. It is apart so
// that a call without an error allocates nothing.
func procsFailed(c *Cgroup, err error) error {
	if parseErr, ok := errors.AsType[*ParseError](err); ok {
		parseErr.Cgroup = c.Path
	}
	return fmt.Errorf("read processes of cgroup %s: %w", c.Path, err)
}

// procsWalk is one call of Procs.
type procsWalk struct {
	reader   *FileReader
	pids     []int
	mostPIDs int
	cgroups  int
	cut      bool  // a bound was reached
	below    error // the first that a cgroup below gave, but for vanishing
}

// cgroup reads the processes of the cgroup whose directory is open and of those
// below it. Its error is that of the cgroup itself.
func (w *procsWalk) cgroup(dirFD, depth int) error {
	if depth > maxProcsDepth || w.cgroups == maxProcsCgroups || len(w.pids) >= w.mostPIDs {
		w.cut = true
		return nil
	}
	w.cgroups++
	if err := w.readProcs(dirFD); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(dirFD, &stat); err != nil {
		return err
	}
	// The kernel counts a cgroup's child directories in its links. Most have
	// none, so that listing all their control files is spared.
	if stat.Nlink == 2 {
		return nil
	}
	return w.children(dirFD, depth)
}

// children reads the cgroups right below the open directory. What goes wrong
// in one of them does not hinder the others.
func (w *procsWalk) children(dirFD, depth int) error {
	fd, err := w.reader.open(dirFD, []byte(".\x00"), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer dir.Close()
	for {
		const atOnce = 128
		entries, err := dir.ReadDir(atOnce)
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			err := w.child(dirFD, entry.Name(), depth+1)
			if err != nil && !isRemoved(err) && w.below == nil {
				w.below = fmt.Errorf("read cgroup %q below it: %w", entry.Name(), err)
			}
			if w.cut {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// child reads the cgroup with this name right below the open directory.
func (w *procsWalk) child(dirFD int, name string, depth int) error {
	fd, err := w.reader.open(dirFD, append([]byte(name), 0), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer closeReadOnly(fd)
	return w.cgroup(fd, depth)
}

// readProcs appends the processes of one cgroup. Unlike other control files
// cgroup.procs comes in pieces of a page, so it is read to its end.
func (w *procsWalk) readProcs(dirFD int) error {
	r := w.reader
	fd, err := r.open(dirFD, []byte("cgroup.procs\x00"), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer closeReadOnly(fd)
	kept, offset := 0, int64(0) // kept bytes are the start of a line that the next piece ends
	for {
		n, err := r.pread(fd, r.text[kept:], offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		offset += int64(n)
		pids, rest, parseErr := parseProcs(r.text[:kept+n], n == 0, w.pids)
		w.pids = pids[:min(len(pids), w.mostPIDs)]
		switch {
		case parseErr != nil:
			return parseErr
		case len(pids) > w.mostPIDs:
			w.cut = true
			return nil
		case n == 0:
			return nil
		}
		kept = copy(r.text, rest)
	}
}

// parseProcs appends the numbers in the text of a cgroup.procs, one on each
// line, but 0, which stands for a process of another pid namespace. Unless
// the text is at its end, an unfinished last line is returned for later.
func parseProcs(text []byte, atEnd bool, into []int) (pids []int, rest []byte, parseErr *ParseError) {
	for len(text) > 0 {
		line, after, finished := cutByte(text, '\n')
		if !finished && !atEnd && len(line) <= maxExcerptBytes {
			return into, text, nil
		}
		pid, ok := parseUint(line)
		if !ok || pid > math.MaxInt32 || len(line) > maxExcerptBytes {
			return into, nil, &ParseError{
				File:    "cgroup.procs",
				Line:    string(line[:min(len(line), maxExcerptBytes)]),
				Problem: "no process id",
			}
		}
		if pid != 0 {
			into = append(into, int(pid))
		}
		text = after
	}
	return into, nil, nil
}

// isRemoved recognises what the kernel says about files of a removed cgroup.
func isRemoved(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}
