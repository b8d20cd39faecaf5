// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is a tree under random changes, and what is to be followed in it.
type model struct {
	root  string
	tree  *Tree
	dirs  map[string]bool // every directory below the root
	known map[*Cgroup]bool
}

// paths to choose from: few, so that they are made, removed and made again.
func drawPath(t *rapid.T) string {
	elements := []string{"/kubepods"}
	elements = append(elements, rapid.SampledFrom([]string{"", "/burstable", "/besteffort", "/other"}).Draw(t, "class"))
	pods := []string{"", "/" + podName(1), "/" + podName(2), "/podx"}
	containers := []string{"", "/" + containerName(1), "/" + containerName(2), "/crio-conmon-" + containerName(1)}
	if pod := rapid.SampledFrom(pods).Draw(t, "pod"); pod != "" {
		elements = append(elements, pod, rapid.SampledFrom(containers).Draw(t, "container"))
		if rapid.Bool().Draw(t, "nested") {
			elements = append(elements, "/init")
		}
	}
	return strings.Join(elements, "")
}

func (m *model) make(t *rapid.T) {
	path := drawPath(t)
	if err := os.MkdirAll(filepath.Join(m.root, path), 0o755); err != nil {
		t.Fatal(err)
	}
	for ; path != "/"; path = filepath.Dir(path) {
		m.dirs[path] = true
	}
}

func (m *model) remove(t *rapid.T) {
	path := drawPath(t)
	if err := os.RemoveAll(filepath.Join(m.root, path)); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(m.dirs, func(dir string, _ bool) bool { return dir == path || strings.HasPrefix(dir, path+"/") })
}

func (m *model) refresh(t *rapid.T) {
	m.tree.searchAt = time.Time{} // the pause between searches is tested elsewhere
	changes, err := m.tree.Refresh()
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	want := map[string]bool{}
	for dir := range m.dirs {
		if _, ok := Classify(kubepodsCgroupfs(), dir); ok {
			want[dir] = true
		}
	}
	got, now := map[string]bool{}, map[*Cgroup]bool{}
	for _, c := range m.tree.Cgroups() {
		if c.Parent != nil && !now[c.Parent] {
			t.Errorf("%s comes before its parent, or has a parent that is gone", c.Path)
		}
		got[c.Path], now[c] = true, true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("followed (-want +got):\n%s", diff)
	}
	checkDifference(t, "born", changes.Born, now, m.known)
	checkDifference(t, "gone", changes.Gone, m.known, now)
	m.known = now
	if m.tree.watch != nil && len(m.tree.byWatch) != len(now) {
		t.Errorf("%d watches for %d cgroups", len(m.tree.byWatch), len(now))
	}
}

// checkDifference holds got to what is in a but not in b.
func checkDifference(t *rapid.T, what string, got []*Cgroup, a, b map[*Cgroup]bool) {
	want := []string{}
	for c := range a {
		if !b[c] {
			want = append(want, fmt.Sprint(c.ID, c.Path))
		}
	}
	have := []string{}
	for _, c := range got {
		have = append(have, fmt.Sprint(c.ID, c.Path))
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// Whatever is made and removed between two refreshes, the tree has exactly the
// cgroups that are there, and says truly what changed.
func TestTreeModel(t *testing.T) {
	for _, tt := range []struct {
		name  string
		watch bool
		kept  int
	}{
		{"listing", false, 0},
		{"inotify", true, 0},
		{"no descriptor kept", false, maxKeptDirs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { checkModel(rt, t.TempDir(), tt.watch, tt.kept) })
		})
	}
}

// checkModel runs one random history. kept descriptors count as kept already.
func checkModel(t *rapid.T, root string, watch bool, kept int) {
	tree, err := NewTree(root, TreeConfig{Watch: watch})
	if err != nil {
		t.Fatal(err)
	}
	tree.kept = kept
	m := &model{root: root, tree: tree, dirs: map[string]bool{}}
	t.Repeat(map[string]func(*rapid.T){"make": m.make, "remove": m.remove, "refresh": m.refresh})
	m.refresh(t)
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if tree.kept != kept || tree.nodes != 0 || tree.others != 0 || len(tree.byWatch) != 0 {
		t.Errorf("after Close: %d descriptors, %d cgroups, %d other directories, %d watches left",
			tree.kept-kept, tree.nodes, tree.others, len(tree.byWatch))
	}
}
