// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// noWatch is the number of a watch that is not there.
const noWatch = -1

// What is asked of inotify about a directory whose children are followed, and
// about a container, of which only the settings matter.
const (
	watchChildren = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF
	watchSettings = unix.IN_MODIFY
	watchOnly     = unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW
)

// mark is what inotify said about one watched directory since the last Refresh.
type mark uint8

const (
	markChildren mark = 1 << iota // a child was made or removed
	markWritten                   // a setting was written to
	markRemoved                   // the directory was removed, and its watch with it
)

// readPause is the least time between two reads of inotify. The kernel sends up
// to 100 notices a second for each events file of each cgroup that is at its
// limit (CGROUP_FILE_NOTIFY_MIN_INTV); they are read in batches.
const readPause = 20 * time.Millisecond

// watcher owns the inotify instance. The set of pending marks is bounded by
// the number of watches, as there is one mark per watch.
type watcher struct {
	file      *os.File
	fd        int
	settings  map[string]struct{} // names of the files that hold settings
	wake      chan struct{}
	running   atomic.Bool
	overflows atomic.Uint64

	mu      sync.Mutex
	pending map[int32]mark
	lost    bool // notices were lost since the last take
}

// newWatcher opens an inotify instance. It fails when the user has too many
// (fs.inotify.max_user_instances).
func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open an inotify instance: %w", err)
	}
	return &watcher{
		file: os.NewFile(uintptr(fd), "inotify"), fd: fd,
		settings: settingFiles(), wake: make(chan struct{}, 1), pending: map[int32]mark{},
	}, nil
}

// settingFiles returns the names of the files that somebody's write makes worth
// reading again. cpu.max is not a Setting only because the kernel changes it,
// too.
func settingFiles() map[string]struct{} {
	names := map[string]struct{}{CPUQuota.Info().File: {}}
	for f := range NumFields {
		if info := f.Info(); info.Setting {
			names[info.File] = struct{}{}
		}
	}
	return names
}

// run reads notices until ctx ends, and then returns nil.
func (w *watcher) run(ctx context.Context) error {
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wait for inotify: %w", err)
	}
	// A deadline in the past ends a Read that waits.
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	w.running.Store(true)
	defer w.running.Store(false)
	pause := time.NewTimer(0)
	defer pause.Stop()
	buf := make([]byte, 64<<10)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		n, err := w.file.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read inotify: %w", err)
		}
		if err := w.take(buf[:n]); err != nil {
			return fmt.Errorf("read inotify: %w", err)
		}
		pause.Reset(readPause)
	}
}

// take turns the notices in buf into marks, and wakes who waits for them.
func (w *watcher) take(buf []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(buf) > 0 {
		e, rest, err := cutNotice(buf)
		if err != nil {
			return err
		}
		buf = rest
		m := w.markOf(e)
		switch {
		case e.mask&unix.IN_Q_OVERFLOW != 0:
			w.lost = true
			w.overflows.Add(1)
		case m != 0:
			w.pending[e.watch] |= m
		default:
			continue
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// markOf says what e means. Modified files that hold no setting mean nothing:
// the kernel reports its own changes of memory.events, cgroup.events and the
// like in the same way as somebody's write (fs/kernfs/file.c, kernfs_notify).
func (w *watcher) markOf(e notice) mark {
	switch {
	case e.mask&(unix.IN_DELETE_SELF|unix.IN_UNMOUNT) != 0:
		// Not IN_IGNORED: it also follows each watch that was ended on purpose.
		return markRemoved
	case e.mask&unix.IN_ISDIR != 0 && e.mask&watchChildren != 0:
		return markChildren
	case e.mask&unix.IN_MODIFY != 0:
		if _, ok := w.settings[string(e.name)]; ok {
			return markWritten
		}
	}
	return 0
}

// swap hands out the pending marks and takes empty, a map without entries, in
// their place. lost says that there were more, which are not known.
func (w *watcher) swap(empty map[int32]mark) (marks map[int32]mark, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	marks, lost = w.pending, w.lost
	w.pending, w.lost = empty, false
	return marks, lost
}

// add begins to watch dir for the events in mask.
func (w *watcher) add(dir string, mask uint32) (int32, error) {
	for {
		wd, err := unix.InotifyAddWatch(w.fd, dir, mask|watchOnly)
		if err == nil {
			return int32(wd), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return noWatch, fmt.Errorf("watch %s: %w", dir, err)
		}
	}
}

// remove ends a watch. The kernel has ended it already where it saw the
// directory removed; it does not see that of every cgroup, and would keep the
// removed cgroup's inode for the watch.
func (w *watcher) remove(wd int32) { _, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) }

func (w *watcher) close() error { return w.file.Close() }

// notice is one struct inotify_event. Its name is valid as long as the buffer.
type notice struct {
	watch int32
	mask  uint32
	name  []byte
}

// errNotice means that what inotify gave made no sense.
var errNotice = errors.New("malformed inotify event")

// cutNotice takes the first struct inotify_event (inotify(7)) off b: watch,
// mask, cookie, length of the name, name padded with NULs.
func cutNotice(b []byte) (notice, []byte, error) {
	if len(b) < unix.SizeofInotifyEvent {
		return notice{}, nil, errNotice
	}
	size := binary.NativeEndian.Uint32(b[12:])
	rest := b[unix.SizeofInotifyEvent:]
	if uint64(size) > uint64(len(rest)) {
		return notice{}, nil, errNotice
	}
	name := rest[:size]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return notice{
		watch: int32(binary.NativeEndian.Uint32(b)),
		mask:  binary.NativeEndian.Uint32(b[4:]),
		name:  name,
	}, rest[size:], nil
}
