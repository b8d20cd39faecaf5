// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// dirEntry is one entry of a directory. Its name is valid until the next entry
// is asked for.
type dirEntry struct {
	name []byte
	ino  uint64
	kind uint8 // unix.DT_*; DT_UNKNOWN where the file system does not say
}

// dirList goes through the entries of an open directory without allocating,
// which os.ReadDir and its kin cannot: they make a string and an object for
// each of the fifty control files that a cgroup has.
type dirList struct {
	fd  int
	buf []byte
	// rest is the part of buf that holds entries not handed out yet.
	rest []byte
	err  error
}

// errDirent means that the kernel's answer made no sense.
var errDirent = errors.New("malformed directory entry")

// start begins anew with the directory fd.
func (l *dirList) start(fd int) {
	if l.buf == nil {
		l.buf = make([]byte, 16<<10)
	}
	l.fd, l.rest = fd, nil
	_, l.err = unix.Seek(fd, 0, unix.SEEK_SET)
}

// next returns the next entry other than "." and "..". It reports false at the
// end and on an error, which is then in l.err.
func (l *dirList) next() (dirEntry, bool) {
	for l.err == nil {
		if len(l.rest) == 0 {
			n, err := unix.Getdents(l.fd, l.buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n <= 0 {
				l.err = err
				return dirEntry{}, false
			}
			l.rest = l.buf[:n]
		}
		e, rest, err := cutDirent(l.rest)
		if err != nil {
			l.err = err
			return dirEntry{}, false
		}
		l.rest = rest
		if string(e.name) != "." && string(e.name) != ".." {
			return e, true
		}
	}
	return dirEntry{}, false
}

// isDir says whether e, found in the directory dirfd, is a directory.
func (e dirEntry) isDir(dirfd int) bool {
	if e.kind != unix.DT_UNKNOWN {
		return e.kind == unix.DT_DIR
	}
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, string(e.name), &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// cutDirent takes the first struct linux_dirent64 (getdents64(2)) off b: inode
// number, offset, length of the record, type, name up to a NUL.
func cutDirent(b []byte) (dirEntry, []byte, error) {
	const header = 8 + 8 + 2 + 1
	if len(b) < header {
		return dirEntry{}, nil, errDirent
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < header || size > len(b) {
		return dirEntry{}, nil, errDirent
	}
	name := b[header:size]
	end := bytes.IndexByte(name, 0)
	if end <= 0 {
		return dirEntry{}, nil, errDirent
	}
	return dirEntry{
		name: name[:end],
		ino:  binary.NativeEndian.Uint64(b),
		kind: b[18],
	}, b[size:], nil
}

// openDirAt opens the directory name below dirfd for listing. Symbolic links
// are refused: cgroup file systems have none, and a recorded tree must not lead
// elsewhere.
func openDirAt(dirfd int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// isGone says whether err means that a cgroup was removed, which is normal.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTDIR)
}
