// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// node is one directory below kubepods that the Tree knows.
type node struct {
	cg       *Cgroup // nil: a directory that is neither a pod's nor a container's
	name     string  // of the directory; of kubepods the path without its slash
	parent   *node   // nil for kubepods
	ino      uint64  // the inode number that listing the parent shows
	children map[string]*node
	gone     bool
	born     uint64 // the Refresh that found it
	seen     uint64 // the last listing of its parent that had it
	watch    int32  // inotify's number for it, or noWatch

	// The rest is used for directories that are listed: those above containers.
	fd      int    // kept open, -1 when not
	nlink   uint64 // when it was listed last
	order   uint64 // spreads the regular listings
	dirty   bool   // something says that its children changed
	skipped int    // children beyond the bound, at the last listing
}

// TreeStats says how the following of cgroups goes.
type TreeStats struct {
	Watches       int    // inotify watches in place
	WatchesFailed uint64 // watches that the system refused (fs.inotify.max_user_watches)
	Overflows     uint64 // times that inotify lost notices, and everything was listed anew
	Ignored       int    // directories below kubepods that are neither a pod's nor a container's
	Truncated     int    // cgroups beyond TreeConfig.MaxCgroups, not followed
}

// treeStats is what Stats reads while Refresh and Run write.
type treeStats struct {
	watches, ignored, truncated atomic.Int64
	watchesFailed               atomic.Uint64
}

// Stats may be called at any time.
func (t *Tree) Stats() TreeStats {
	s := TreeStats{
		Watches:       int(t.stats.watches.Load()),
		WatchesFailed: t.stats.watchesFailed.Load(),
		Ignored:       int(t.stats.ignored.Load()),
		Truncated:     int(t.stats.truncated.Load()),
	}
	if t.watch != nil {
		s.Overflows = t.watch.overflows.Load()
	}
	return s
}

// publishStats makes the counts of this Refresh visible to Stats.
func (t *Tree) publishStats() {
	skipped := 0
	for _, n := range t.dirs {
		skipped += n.skipped
	}
	if skipped > 0 && !t.saidBound {
		t.saidBound = true
		t.log.Warn("More cgroups than are followed", "followed", t.nodes, "not_followed", skipped)
	}
	watches := len(t.byWatch)
	if t.rootWatch != noWatch {
		watches++
	}
	t.stats.watches.Store(int64(watches))
	t.stats.ignored.Store(int64(t.others))
	t.stats.truncated.Store(int64(skipped))
}

// refreshDir looks for new and gone children of n where something says that
// there may be some.
func (t *Tree) refreshDir(n *node) {
	if n.gone {
		return
	}
	fd := n.fd
	if fd < 0 {
		var err error
		if fd, err = openDirAt(t.root, n.cg.Path[1:]); err != nil {
			t.failed(n, "open", err)
			return
		}
		defer unix.Close(fd)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.failed(n, "stat", err)
		return
	}
	if t.listDue(n, uint64(st.Nlink)) {
		// The count from before the listing, so that what is made during the
		// listing is seen by the next refresh.
		n.nlink, n.dirty = uint64(st.Nlink), false
		t.listDir(n, fd)
	}
	if n == t.top && !n.gone && len(n.children) == 0 {
		t.checkTop()
	}
}

// listDue says whether n has to be listed. Off cgroup v2 link counts and inode
// numbers mean other things, and such trees are small.
func (t *Tree) listDue(n *node, nlink uint64) bool {
	return n.dirty || n.skipped > 0 || !t.cgroup2 || nlink != n.nlink ||
		n.watch == noWatch || !t.watch.running.Load() || (t.round+n.order)%relistEvery == 0
}

// listDir compares the entries of n, open as fd, with its known children.
func (t *Tree) listDir(n *node, fd int) {
	t.listing++
	n.skipped = 0
	t.list.start(fd)
	for e, ok := t.list.next(); ok; e, ok = t.list.next() {
		if !e.isDir(fd) {
			continue
		}
		child := n.children[string(e.name)]
		if child != nil && child.ino != e.ino {
			t.drop(child)
			child = nil
		}
		if child == nil {
			child = t.discover(n, string(e.name), e.ino)
		}
		if child != nil {
			child.seen = t.listing
		}
	}
	if t.list.err != nil {
		t.failed(n, "list", t.list.err)
		return
	}
	for _, child := range n.children {
		if child.seen != t.listing {
			t.drop(child)
		}
	}
}

// discover makes the node of a directory that was not known. It returns nil
// for one that vanished meanwhile or is beyond the bound.
func (t *Tree) discover(parent *node, name string, ino uint64) *node {
	c, ok := Classify(t.kube, parent.cg.Path+"/"+name)
	if !ok {
		if t.others >= t.cfg.MaxCgroups {
			return nil
		}
		t.others++
		n := &node{name: name, parent: parent, ino: ino, fd: -1, watch: noWatch}
		parent.children[name] = n
		return n
	}
	if t.nodes >= t.cfg.MaxCgroups {
		parent.skipped++
		return nil
	}
	n, err := t.newNode(parent, name, c)
	if err != nil {
		if !isGone(err) {
			t.errs = append(t.errs, fmt.Errorf("open cgroup %s: %w", c.Path, err))
		}
		return nil
	}
	if !t.cgroup2 {
		// What listing shows can differ from what stat shows (overlayfs, btrfs).
		n.ino = ino
	}
	parent.children[name] = n
	return n
}

// newNode makes the node of the cgroup c and begins to watch it. A directory
// above containers is queued to be listed in this Refresh.
func (t *Tree) newNode(parent *node, name string, c Cgroup) (*node, error) {
	n := &node{cg: &c, name: name, parent: parent, fd: -1, watch: noWatch, born: t.round, order: t.nodesMade}
	var st unix.Stat_t
	if c.Level == LevelContainer {
		if err := unix.Fstatat(t.root, c.Path[1:], &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, err
		}
	} else {
		fd, err := openDirAt(t.root, c.Path[1:])
		if err != nil {
			return nil, err
		}
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return nil, err
		}
		n.children, n.dirty = map[string]*node{}, true
		if t.kept < t.maxKept {
			n.fd = fd
			t.kept++
		} else {
			unix.Close(fd)
		}
	}
	n.ino, c.ID = st.Ino, st.Ino
	if parent != nil {
		c.Parent = parent.cg
		if c.Level != LevelContainer {
			t.dirs = append(t.dirs, n)
		}
	}
	t.nodes++
	t.nodesMade++
	t.changed = true
	t.addWatch(n)
	return n, nil
}

// drop forgets n and what is below it.
func (t *Tree) drop(n *node) {
	if n.parent != nil && n.parent.children[n.name] == n {
		delete(n.parent.children, n.name)
	}
	for _, child := range n.children {
		t.drop(child)
	}
	n.gone = true
	if n.cg == nil {
		t.others--
		return
	}
	t.nodes--
	t.changed = true
	if n.born != t.round {
		t.changes.Gone = append(t.changes.Gone, n.cg)
	}
	if n.fd >= 0 {
		// Nothing was written through it, so closing cannot lose anything.
		_ = unix.Close(n.fd)
		n.fd = -1
		t.kept--
	}
	t.dropWatch(n)
}

// failed deals with an error of the directory n: what is gone is forgotten, and
// its name is looked up again in this Refresh.
func (t *Tree) failed(n *node, doing string, err error) {
	if !isGone(err) {
		// Nothing was learnt about the children: keep them and try again.
		n.dirty = true
		t.errs = append(t.errs, fmt.Errorf("%s cgroup %s: %w", doing, n.cg.Path, err))
		return
	}
	if n == t.top {
		t.topGone()
		return
	}
	t.again = true
	n.parent.dirty = true
	t.drop(n)
}

// checkTop finds out whether kubepods, which has nothing below it, was removed
// or replaced: no listing of a parent would tell.
func (t *Tree) checkTop() {
	var st unix.Stat_t
	err := unix.Fstatat(t.root, t.top.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if isGone(err) || err == nil && st.Ino != t.top.cg.ID {
		t.topGone()
	}
}

// rebuild makes the flat lists anew from the nodes.
func (t *Tree) rebuild() {
	t.cgroups, t.dirs, t.changes.Born = emptied(t.cgroups), emptied(t.dirs), emptied(t.changes.Born)
	t.pods, t.changed = 0, false
	if t.top == nil {
		return
	}
	t.take(t.top)
	var pods []*node
	for _, n := range sortedChildren(t.top) {
		if n.cg.Level == LevelQoS {
			t.take(n)
			pods = append(pods, sortedChildren(n)...)
		} else {
			pods = append(pods, n)
		}
	}
	slices.SortStableFunc(pods, func(a, b *node) int { return int(a.cg.QoS) - int(b.cg.QoS) })
	t.pods = len(pods)
	for _, pod := range pods {
		t.take(pod)
		for _, n := range sortedChildren(pod) {
			t.take(n)
		}
	}
}

// take appends n to the flat lists.
func (t *Tree) take(n *node) {
	t.cgroups = append(t.cgroups, n.cg)
	if n.children != nil {
		t.dirs = append(t.dirs, n)
	}
	if n.born == t.round {
		t.changes.Born = append(t.changes.Born, n.cg)
	}
}

// sortedChildren returns the children of n that are cgroups of the kubelet or a
// runtime, by name.
func sortedChildren(n *node) []*node {
	out := make([]*node, 0, len(n.children))
	for _, child := range n.children {
		if child.cg != nil {
			out = append(out, child)
		}
	}
	slices.SortFunc(out, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return out
}
