// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"time"

	"golang.org/x/sys/unix"
)

// applyMarks takes over what inotify said since the last Refresh.
func (t *Tree) applyMarks() {
	if t.watch == nil {
		return
	}
	clear(t.marks)
	marks, lost := t.watch.swap(t.marks)
	t.marks = marks
	for wd, m := range marks {
		if wd == t.rootWatch {
			// Something was made next to where kubepods may come.
			t.searchAt, t.searchPause = time.Time{}, minSearchPause
			continue
		}
		if n := t.byWatch[wd]; n != nil {
			t.apply(n, m)
		}
	}
	if !lost {
		return
	}
	t.searchAt = time.Time{}
	t.rewritten = t.rewritten[:0]
	for _, n := range t.byWatch {
		n.dirty = true
		t.rewritten = append(t.rewritten, n)
	}
}

// apply takes over what inotify said about n.
func (t *Tree) apply(n *node, m mark) {
	if m&markWritten != 0 {
		t.rewritten = append(t.rewritten, n)
	}
	if m&markChildren != 0 {
		n.dirty = true
	}
	if m&markRemoved != 0 {
		// The watch is gone whatever became of the directory: should it still
		// be there, it is listed at each refresh from now on.
		n.dirty = true
		t.dropWatch(n)
		if n.parent != nil {
			n.parent.dirty = true
		}
	}
}

// addWatch begins to watch n. A watch that the system refuses is counted, and n
// is listed at each refresh instead.
func (t *Tree) addWatch(n *node) {
	if t.watch == nil {
		return
	}
	mask := uint32(watchSettings)
	if n.cg.Level != LevelContainer {
		mask |= watchChildren
	}
	wd, err := t.watch.add(t.rootDir+n.cg.Path, mask)
	if err != nil {
		if !isGone(err) {
			t.watchFailed(err)
		}
		return
	}
	n.watch = wd
	t.byWatch[wd] = n
}

// dropWatch ends the watch of n.
func (t *Tree) dropWatch(n *node) {
	if n.watch == noWatch {
		return
	}
	if t.byWatch[n.watch] == n {
		t.watch.remove(n.watch)
		delete(t.byWatch, n.watch)
	}
	n.watch = noWatch
}

// watchRoot watches the cgroup root while there is no kubepods.
func (t *Tree) watchRoot() {
	if t.watch == nil || t.rootWatch != noWatch {
		return
	}
	wd, err := t.watch.add(t.rootDir, unix.IN_CREATE|unix.IN_MOVED_TO)
	if err != nil {
		t.watchFailed(err)
		return
	}
	t.rootWatch = wd
}

func (t *Tree) unwatchRoot() {
	if t.rootWatch != noWatch {
		t.watch.remove(t.rootWatch)
		t.rootWatch = noWatch
	}
}

// watchFailed counts a watch that the system refused and says so once.
func (t *Tree) watchFailed(err error) {
	if t.stats.watchesFailed.Add(1) == 1 {
		t.log.Warn("Some cgroups are followed by listing directories only", "reason", err,
			"mend", "raise fs.inotify.max_user_watches")
	}
}
