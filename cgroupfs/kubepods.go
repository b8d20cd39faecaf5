// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kubepods is the cgroup that the kubelet keeps all pods in.
type Kubepods struct {
	// Path is relative to the cgroup root and starts with a slash.
	Path   string
	Driver Driver
}

// Bounds of the search for kubepods, so that a host full of cgroups costs a
// known amount. Rootless Docker puts a kind node's kubepods 7 levels deep.
const (
	maxSearchDepth = 8
	maxSearchDirs  = 1024
)

// FindKubepods looks for the kubepods cgroup below rootDir, the mount point of
// cgroup v2. It reports false when there is none (yet). The error says that
// rootDir itself cannot be read; what cannot be read below it is passed over.
//
// Without a hint it looks level by level from the root downwards, which finds
// "kubepods.slice" and "kubepods", those below a kubelet's --cgroup-root
// ("/kubelet.slice/kubelet-kubepods.slice" and "/kubelet/kubepods" of kind),
// and those of kind nodes seen from their host. It does not look below a
// kubepods for another one, nor deeper than 8 levels, and lists no more than
// 1024 cgroups. Where there are several, one that has pods is preferred over
// one that has none, then the one nearer to the root, then the first by name.
//
// hint ends the search: it is the path of kubepods or of its parent, relative
// to rootDir or with rootDir in front, or the value of the kubelet's
// --cgroup-root, and nothing else is looked at.
func FindKubepods(rootDir, hint string) (Kubepods, bool, error) {
	root, err := openDirAt(unix.AT_FDCWD, rootDir)
	if err != nil {
		return Kubepods{}, false, fmt.Errorf("open the cgroup root %s: %w", rootDir, err)
	}
	defer unix.Close(root)
	s := search{root: root, cgroup2: onCgroup2(root)}
	if hint != "" {
		k, ok := s.best(s.hinted(relativeTo(rootDir, hint)))
		return k, ok, nil
	}
	k, ok, err := s.everywhere()
	if err != nil {
		return Kubepods{}, false, fmt.Errorf("list the cgroup root %s: %w", rootDir, err)
	}
	return k, ok, nil
}

// search is one search for kubepods.
type search struct {
	root    int // descriptor of the cgroup root
	cgroup2 bool
	listed  int
	list    dirList
}

// everywhere goes down level by level and ends at the first level where a
// kubepods has pods.
func (s *search) everywhere() (Kubepods, bool, error) {
	var found []Kubepods
	level := []string{"/"}
	for depth := 0; depth < maxSearchDepth && len(level) > 0; depth++ {
		var below []string
		for _, dir := range level {
			if s.listed >= maxSearchDirs {
				break
			}
			children, err := s.subdirs(dir, s.cgroup2)
			if err != nil && depth == 0 {
				return Kubepods{}, false, err
			}
			for _, name := range children {
				full := path.Join(dir, name)
				if d, ok := kubepodsDriver(full); ok {
					found = append(found, Kubepods{Path: full, Driver: d})
				} else if len(below) < maxSearchDirs {
					below = append(below, full)
				}
			}
		}
		if k, ok := s.best(found); ok && s.hasPods(k) {
			return k, true, nil
		}
		level = below
	}
	k, ok := s.best(found)
	return k, ok, nil
}

// hinted returns the kubepods that hint, an absolute clean path, can mean.
func (s *search) hinted(hint string) []Kubepods {
	parents := []string{hint}
	if expanded := expandSlice(hint); expanded != hint {
		parents = append(parents, expanded)
	}
	candidates := []string{hint}
	for _, parent := range parents {
		candidates = append(candidates, path.Join(parent, "kubepods"))
		if base := path.Base(parent); base == "/" {
			candidates = append(candidates, "/kubepods.slice")
		} else if prefix, ok := strings.CutSuffix(base, ".slice"); ok {
			candidates = append(candidates, path.Join(parent, prefix+"-kubepods.slice"))
		}
		candidates = append(candidates, path.Join(parent, "kubepods.slice"))
	}
	var found []Kubepods
	for _, c := range candidates {
		if d, ok := kubepodsDriver(c); ok && s.isDir(c) {
			found = append(found, Kubepods{Path: c, Driver: d})
		}
	}
	return found
}

// best chooses among candidates by the rule that FindKubepods documents.
func (s *search) best(candidates []Kubepods) (Kubepods, bool) {
	if len(candidates) == 0 {
		return Kubepods{}, false
	}
	// Their number is bounded by maxSearchDirs, and is 1 on nearly every node.
	withPods := make([]Kubepods, 0, len(candidates))
	if len(candidates) > 1 {
		for _, k := range candidates {
			if s.hasPods(k) {
				withPods = append(withPods, k)
			}
		}
	}
	if len(withPods) > 0 {
		candidates = withPods
	}
	return slices.MinFunc(candidates, func(a, b Kubepods) int {
		return cmp.Or(
			cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/")),
			strings.Compare(a.Path, b.Path),
		)
	}), true
}

// hasPods says whether a pod's cgroup is below k.
func (s *search) hasPods(k Kubepods) bool {
	dirs := []string{k.Path}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		// An error here means that it is gone, and then it has no pods.
		children, _ := s.subdirs(dir, false)
		for _, name := range children {
			full := path.Join(dir, name)
			switch c, ok := Classify(k, full); {
			case ok && c.Level == LevelPod:
				return true
			case ok && c.Level == LevelQoS:
				dirs = append(dirs, full)
			}
		}
	}
	return false
}

// subdirs returns the names of the cgroups directly below dir, sorted. Without
// leaves it leaves out those that have no cgroups below themselves, unless they
// are kubepods.
func (s *search) subdirs(dir string, withoutLeaves bool) ([]string, error) {
	fd, err := openDirAt(s.root, cmp.Or(dir[1:], "."))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	s.listed++
	var names []string
	s.list.start(fd)
	for e, ok := s.list.next(); ok && len(names) < maxSearchDirs; e, ok = s.list.next() {
		name := string(e.name)
		if !e.isDir(fd) || !plausibleName(name) || withoutLeaves && isUselessLeaf(fd, dir, name) {
			continue
		}
		names = append(names, name)
	}
	if s.list.err != nil {
		return nil, s.list.err
	}
	slices.Sort(names)
	return names, nil
}

// isUselessLeaf says whether the cgroup name below dir, which is open as fd, has
// no cgroups below itself and is of no interest without them: most of a host's
// cgroups are services, and listing each would cost some hundred microseconds.
func isUselessLeaf(fd int, dir, name string) bool {
	if _, ok := kubepodsDriver(path.Join(dir, name)); ok {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return isGone(err)
	}
	return st.Nlink <= leafLinks
}

// isDir says whether dir is a directory below the root.
func (s *search) isDir(dir string) bool {
	fd, err := openDirAt(s.root, cmp.Or(dir[1:], "."))
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// kubepodsDriver says whether a cgroup at the absolute path dir is kubepods by
// its name, and by which driver it was made then. systemd's slices repeat the
// name of their parent: "/a.slice/a-kubepods.slice".
func kubepodsDriver(dir string) (Driver, bool) {
	parent, name := path.Split(dir)
	switch name {
	case "kubepods":
		return DriverCgroupfs, true
	case "kubepods.slice":
		return DriverSystemd, true
	}
	prefix, ok := strings.CutSuffix(name, "-kubepods.slice")
	if ok && path.Base(parent) == prefix+".slice" {
		return DriverSystemd, true
	}
	return 0, false
}

// expandSlice turns a kubelet's --cgroup-root into the path that the systemd
// driver makes of it (pkg/kubelet/cm, CgroupName.ToSystemd): "/a/b-c" becomes
// "/a.slice/a-b_c.slice".
func expandSlice(cgroupRoot string) string {
	var out, prefix string
	for part := range strings.SplitSeq(strings.Trim(cgroupRoot, "/"), "/") {
		if part == "" || strings.HasSuffix(part, ".slice") {
			return cgroupRoot
		}
		prefix += strings.ReplaceAll(part, "-", "_")
		out += "/" + prefix + ".slice"
		prefix += "-"
	}
	return out
}

// relativeTo returns hint as an absolute clean path below rootDir, whether it
// was given with rootDir in front or without.
func relativeTo(rootDir, hint string) string {
	hint = path.Clean("/" + hint)
	rootDir = filepath.Clean(rootDir)
	if rest, ok := strings.CutPrefix(hint, rootDir); ok && rootDir != "/" && (rest == "" || rest[0] == '/') {
		hint = path.Clean("/" + rest)
	}
	return hint
}

// leafLinks is the link count of a cgroup without cgroups below it. kernfs
// counts 2 and one per child directory (fs/kernfs/inode.c, kernfs_refresh_inode).
const leafLinks = 2

// onCgroup2 says whether the open directory fd is on cgroup v2, whose link
// counts can be relied on. Other file systems (recorded trees) count otherwise.
func onCgroup2(fd int) bool {
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(fd, &st)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
		}
	}
}
