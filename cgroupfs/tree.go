// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultMaxCgroups = 25000
	// relistEvery is after how many refreshes a directory is listed even if
	// nothing says that it changed: link counts stay equal when one cgroup went
	// and another came, and inotify does not see what is done through another
	// cgroup namespace's mount. Both at once is rare, and listing a pod costs
	// about 40 times what looking at its link count does.
	relistEvery = 60
	// The search for kubepods is repeated after this time, doubled each time up
	// to the maximum.
	minSearchPause = time.Second
	maxSearchPause = 30 * time.Second
)

// TreeConfig is what a Tree can be told. The zero value is usable.
type TreeConfig struct {
	// Hint says where kubepods is, see FindKubepods. Empty: look for it.
	Hint string
	// Logger is told when kubepods is found and lost, and when a bound or a
	// limit of the system bites. nil: silence.
	Logger *slog.Logger
	// MaxCgroups bounds how many cgroups are followed. 0: 25000.
	MaxCgroups int
	// Watch asks for inotify: without it Wake never signals, nothing is ever
	// Rewritten, and every refresh lists every directory above the containers.
	Watch bool
}

// Tree follows the cgroups of pods and containers: kubepods, its QoS slices,
// the pods and their containers, not what containers make below themselves.
//
// Its methods must not be called at the same time, except Run, Wake and Stats.
type Tree struct {
	rootDir string
	cfg     TreeConfig
	log     *slog.Logger
	root    int // descriptor of rootDir, -1 when closed
	cgroup2 bool
	watch   *watcher // nil without inotify
	list    dirList

	kube      Kubepods
	top       *node // kubepods; nil while there is none
	nodes     int   // cgroups followed
	others    int   // directories remembered as not being pods' or containers'
	kept      int   // descriptors kept in nodes
	maxKept   int   // the bound on kept
	pods      int   // pods followed, as of the last rebuild
	dirs      []*node
	cgroups   []*Cgroup
	byWatch   map[int32]*node
	rootWatch int32
	marks     map[int32]mark // spare map, exchanged with the watcher's

	round       uint64 // refreshes so far
	listing     uint64 // directory listings so far
	nodesMade   uint64
	again       bool // a directory turned out to be another one: list once more
	changed     bool // the set is not what cgroups says
	searchAt    time.Time
	searchPause time.Duration
	saidBound   bool
	saidMissing bool

	changes   Changes
	rewritten []*node
	errs      []error
	stats     treeStats
}

// Changes is what a Refresh found. A cgroup that was removed and made again
// between two refreshes is in Gone and, as another Cgroup, in Born.
type Changes struct {
	Born []*Cgroup // parents before their children
	Gone []*Cgroup // children before their parents
	// Rewritten are living cgroups of which a control file that holds a setting
	// was written to. After lost notices this is every cgroup.
	Rewritten []*Cgroup
}

// NewTree prepares to follow the cgroups below rootDir, the mount point of
// cgroup v2 (see CheckRoot) or a recorded tree. Nothing is known before the
// first Refresh. The error says that rootDir cannot be read.
func NewTree(rootDir string, cfg TreeConfig) (*Tree, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("get the limit on open files (RLIMIT_NOFILE): %w", err)
	}
	root, err := openDirAt(unix.AT_FDCWD, rootDir)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup root %s: %w", rootDir, err)
	}
	if cfg.MaxCgroups <= 0 {
		cfg.MaxCgroups = defaultMaxCgroups
	}
	t := &Tree{
		rootDir: filepath.Clean(rootDir), cfg: cfg, log: cfg.Logger,
		root: root, cgroup2: onCgroup2(root), maxKept: keptDirsFor(limit.Cur),
		byWatch: map[int32]*node{}, rootWatch: noWatch, marks: map[int32]mark{},
		searchPause: minSearchPause,
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if !cfg.Watch {
		return t, nil
	}
	if t.watch, err = newWatcher(); err != nil {
		t.log.Warn("Changes of cgroups are found by listing directories only", "reason", err,
			"mend", "raise fs.inotify.max_user_instances")
		t.stats.watchesFailed.Add(1)
	}
	return t, nil
}

// Refresh brings the set up to date and returns what changed since the last
// call. The slices of the result are reused by the next call. With an error
// that concerns single directories the rest is up to date all the same.
func (t *Tree) Refresh() (Changes, error) {
	if t.root < 0 {
		return Changes{}, fmt.Errorf("refresh the cgroups below %s: %w", t.rootDir, errClosed)
	}
	t.round++
	t.changes.Born = emptied(t.changes.Born)
	t.changes.Gone = emptied(t.changes.Gone)
	t.changes.Rewritten = emptied(t.changes.Rewritten)
	t.rewritten, t.errs = emptied(t.rewritten), emptied(t.errs)

	t.applyMarks()
	// Twice, because what is found gone may be there anew under its name.
	for range 2 {
		t.again = false
		if t.searchDue() {
			t.search()
		}
		for i := 0; i < len(t.dirs); i++ {
			t.refreshDir(t.dirs[i])
		}
		if t.changed {
			t.rebuild()
		}
		if !t.again {
			break
		}
	}
	for _, n := range t.rewritten {
		if !n.gone {
			t.changes.Rewritten = append(t.changes.Rewritten, n.cg)
		}
	}
	t.publishStats()
	if len(t.errs) == 0 {
		return t.changes, nil
	}
	return t.changes, errors.Join(t.errs...)
}

// Cgroups returns the living cgroups, parents before children: kubepods, the
// QoS slices, then each pod followed by its containers, by class and name. The
// slice belongs to the Tree and is valid until the next Refresh.
func (t *Tree) Cgroups() []*Cgroup { return t.cgroups }

// Kubepods returns the kubepods cgroup that is followed. It reports false while
// there is none; Refresh goes on looking for it.
func (t *Tree) Kubepods() (Kubepods, bool) { return t.kube, t.top != nil }

// Wake returns a channel of capacity 1 that is signalled when a cgroup was made
// or removed or a setting was written: a Refresh is due then.
// Without inotify it is nil, which never is.
func (t *Tree) Wake() <-chan struct{} {
	if t.watch == nil {
		return nil
	}
	return t.watch.wake
}

// Run reads inotify until ctx ends and then returns nil. Where inotify is off,
// cannot be had or fails, it waits for ctx, and Refresh finds changes by
// listing. It starts no goroutine that outlives it.
func (t *Tree) Run(ctx context.Context) error {
	if t.watch == nil {
		<-ctx.Done()
		return nil
	}
	if err := t.watch.run(ctx); err != nil {
		t.log.Warn("Changes of cgroups are found by listing directories only from now on", "reason", err)
		<-ctx.Done()
	}
	return nil
}

// Close gives back every descriptor. Call it after Run has ended.
func (t *Tree) Close() error {
	if t.root < 0 {
		return nil
	}
	t.loseAll()
	t.rebuild()
	err := unix.Close(t.root)
	t.root = -1
	if t.watch != nil {
		err = errors.Join(err, t.watch.close())
	}
	if err != nil {
		return fmt.Errorf("close the cgroup tree %s: %w", t.rootDir, err)
	}
	return nil
}

// errClosed is returned by a Tree that was closed.
var errClosed = errors.New("the tree is closed")

// searchDue says whether it is time to look for kubepods: while there is none,
// and now and then while the one that is followed has no pods, because another
// cgroup driver may have been configured and left an empty one behind.
func (t *Tree) searchDue() bool {
	if t.top != nil && t.pods > 0 {
		return false
	}
	return !time.Now().Before(t.searchAt)
}

// search looks for kubepods and follows what it finds.
func (t *Tree) search() {
	k, ok, err := FindKubepods(t.rootDir, t.cfg.Hint)
	t.searchAt = time.Now().Add(t.searchPause)
	t.searchPause = min(2*t.searchPause, maxSearchPause)
	if err != nil {
		t.errs = append(t.errs, err)
		return
	}
	switch {
	case ok && t.top != nil && k == t.kube:
		return
	case !ok && t.top == nil:
		t.sayMissing()
		t.watchRoot()
		return
	}
	t.loseAll()
	if ok {
		t.follow(k)
	}
}

// sayMissing says, once, that there is no kubepods, and what the reason may be.
func (t *Tree) sayMissing() {
	if t.saidMissing {
		return
	}
	t.saidMissing = true
	attrs := []any{"root", t.rootDir, "hint", t.cfg.Hint}
	// The true root has no cgroup.events; the root of a cgroup namespace has.
	var st unix.Stat_t
	if unix.Fstatat(t.root, "cgroup.events", &st, 0) == nil {
		attrs = append(attrs, "mend", "this is a part of the host's tree: unless the node itself is a container, "+
			"mount the host's /sys/fs/cgroup there")
	}
	t.log.Info("No cgroup of pods found yet", attrs...)
}

// follow begins to follow k.
func (t *Tree) follow(k Kubepods) {
	c, ok := Classify(k, k.Path)
	if !ok {
		return
	}
	n, err := t.newNode(nil, k.Path[1:], c)
	if err != nil {
		if !isGone(err) {
			t.errs = append(t.errs, fmt.Errorf("open cgroup %s: %w", k.Path, err))
		}
		return
	}
	t.unwatchRoot()
	t.saidMissing = false
	t.kube, t.top, t.changed = k, n, true
	t.dirs = append(t.dirs[:0], n)
	t.searchPause = minSearchPause
	t.log.Info("Following the cgroups of pods", "kubepods", k.Path, "driver", k.Driver.String())
}

// topGone deals with kubepods having been removed: it is looked for at once.
func (t *Tree) topGone() {
	t.log.Info("The cgroup of all pods is gone", "kubepods", t.kube.Path)
	t.again = true
	t.loseAll()
}

// loseAll forgets every cgroup.
func (t *Tree) loseAll() {
	if t.top == nil {
		return
	}
	t.drop(t.top)
	t.kube, t.top = Kubepods{}, nil
	t.dirs = t.dirs[:0]
	t.searchAt, t.searchPause = time.Time{}, minSearchPause
}

// emptied returns s without its elements, for reuse, and lets go of what they
// point to.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}
