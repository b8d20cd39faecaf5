// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// initialTextBytes holds every file of a usual node; memory.stat has some
	// 1700 bytes.
	initialTextBytes = 8 << 10
	// maxTextBytes is what io.stat would need for some 10,000 devices.
	maxTextBytes = 1 << 20
)

var errTooLarge = fmt.Errorf("file is larger than %d bytes", maxTextBytes)

// readText reads the whole file from its start into the FileReader's buffer,
// where it stays until the next call. The kernel formats these files anew for
// every read at offset 0, and gives all of it at once if the buffer is large
// enough; parts put together would be of different moments.
func (r *FileReader) readText(fd int) ([]byte, error) {
	for {
		n, err := r.pread(fd, r.text, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n < len(r.text):
			return r.text[:n], nil
		case len(r.text) >= maxTextBytes:
			return nil, errTooLarge
		default:
			r.text = make([]byte, 2*len(r.text))
		}
	}
}

// openFile opens a control file for reading, and its directory before that if
// dirFD says that it is not open.
func (r *FileReader) openFile(known *cgroupFiles, file *controlFile, dirFD *int) (fd int, err error) {
	if *dirFD == notOpen {
		if *dirFD, err = r.openDir(known); err != nil {
			return notOpen, err
		}
	}
	return r.open(*dirFD, file.cname, unix.O_RDONLY)
}

// openDir opens the directory of a cgroup. The error is ErrGone also if the
// directory is another cgroup's: a service that was restarted has the path of
// the one before.
func (r *FileReader) openDir(known *cgroupFiles) (fd int, err error) {
	fd, err = r.open(r.rootFD, known.cpath, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return notOpen, gone(known.cgroup)
	}
	if err != nil {
		return notOpen, fmt.Errorf("open its directory: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		closeReadOnly(fd)
		return notOpen, fmt.Errorf("stat its directory: %w", err)
	}
	if stat.Ino != known.cgroup.ID {
		closeReadOnly(fd)
		return notOpen, gone(known.cgroup)
	}
	return fd, nil
}

// checkExists returns ErrGone if the cgroup's directory does not exist any
// more. Looking it up anew is the way to know: the link count of an open
// directory does not tell that a cgroup was removed.
func (r *FileReader) checkExists(known *cgroupFiles) error {
	fd, err := r.openDir(known)
	if err == nil {
		closeReadOnly(fd)
		return nil
	}
	if errors.Is(err, ErrGone) {
		return err
	}
	// Nothing is known about the cgroup then; the file's own error is enough.
	return nil
}

func gone(c *Cgroup) error { return fmt.Errorf("read cgroup %s: %w", c.Path, ErrGone) }

// open is openat. When the process or the machine is out of descriptors it
// gives some of the kept ones back for good and tries once more: the
// others in the process need them as well.
func (r *FileReader) open(dirFD int, cname []byte, flags int) (int, error) {
	fd, err := openat(dirFD, cname, flags)
	if err == nil || !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
		return fd, err
	}
	r.budget.shrink()
	for _, known := range r.cgroups {
		for i := range known.files {
			if r.budget.open <= r.budget.max {
				return openat(dirFD, cname, flags)
			}
			r.closeFile(&known.files[i])
		}
	}
	return openat(dirFD, cname, flags)
}

// openat opens a name that ends in a NUL byte. unix.Openat would allocate one
// every time, and the files of settings are opened all the time.
func openat(dirFD int, cname []byte, flags int) (int, error) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dirFD),
			uintptr(unsafe.Pointer(unsafe.SliceData(cname))), uintptr(flags|unix.O_CLOEXEC), 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return notOpen, errno
		}
	}
}

// closeReadOnly closes a descriptor that nothing was written to: an error could
// only say that it was closed before, and Linux gives it back in any case.
func closeReadOnly(fd int) { _ = unix.Close(fd) }
