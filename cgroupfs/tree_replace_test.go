// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// replace puts another, empty directory in the place of dir. Renaming makes
// sure that its inode is another one, which removing and making does not: the
// file system may give the number again, as cgroup v2 never does.
func replace(t testing.TB, dir string) {
	t.Helper()
	other := filepath.Join(filepath.Dir(dir), "replacement")
	mkdir(t, other)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, dir); err != nil {
		t.Fatal(err)
	}
}

// A cgroup under the name of a former one is another cgroup.
func TestTreeReplaced(t *testing.T) {
	pod := "/burstable/" + podName(1)
	container := pod + "/" + containerName(0)
	tests := []struct {
		dir        string
		gone, born []string
	}{
		{container, []string{container}, []string{container}},
		{pod, []string{container, pod}, []string{pod}},
		{"/burstable", []string{container, pod, "/burstable"}, []string{"/burstable"}},
		{"", []string{container, pod, "/burstable", ""}, []string{""}},
	}
	for _, tt := range tests {
		t.Run("kubepods"+tt.dir, func(t *testing.T) {
			root := t.TempDir()
			makePod(t, root, "burstable", 1, 1)
			tree := newTestTree(t, root, TreeConfig{})
			refresh(t, tree)
			replace(t, filepath.Join(root, "kubepods", tt.dir))
			changes := refresh(t, tree)
			wantPaths(t, "gone", changes.Gone, tt.gone...)
			wantPaths(t, "born", changes.Born, tt.born...)
			last := len(changes.Gone) - 1
			if last >= 0 && len(changes.Born) > 0 && changes.Gone[last].ID == changes.Born[0].ID {
				t.Errorf("both have the ID %d", changes.Born[0].ID)
			}
		})
	}
}

// An empty kubepods that was moved away looks the same through its descriptor.
func TestTreeEmptyKubepodsReplaced(t *testing.T) {
	root := directories(t, "kubepods")
	tree := newTestTree(t, root, TreeConfig{})
	refresh(t, tree)
	kubepods := filepath.Join(root, "kubepods")
	if err := os.Rename(kubepods, filepath.Join(root, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	mkdir(t, kubepods)
	changes := refresh(t, tree)
	wantPaths(t, "gone", changes.Gone, "")
	wantPaths(t, "born", changes.Born, "")
}

// A pod that vanishes after its parent was listed is gone, and its name is
// looked up again.
func TestTreeVanishesWhileListed(t *testing.T) {
	root := t.TempDir()
	pod := makePod(t, root, "burstable", 1, 1)
	tree := newTestTree(t, root, TreeConfig{})
	refresh(t, tree)
	burstable := tree.top.children["burstable"]
	n := burstable.children[podName(1)]
	if err := os.RemoveAll(pod); err != nil {
		t.Fatal(err)
	}
	tree.round++
	tree.again = false
	tree.refreshDir(n)
	if len(tree.errs) > 0 {
		t.Errorf("errors %v, want none", tree.errs)
	}
	if !n.gone || !burstable.dirty || !tree.again {
		t.Errorf("gone %v, parent to be listed %v at once %v, want all three", n.gone, burstable.dirty, tree.again)
	}
	wantPaths(t, "gone", tree.changes.Gone, "/burstable/"+podName(1)+"/"+containerName(0), "/burstable/"+podName(1))
}

// What came and went within one refresh was never there for anybody.
func TestTreeShortLifeIsNoChange(t *testing.T) {
	root := t.TempDir()
	makePod(t, root, "burstable", 1, 1)
	tree := newTestTree(t, root, TreeConfig{})
	refresh(t, tree)
	tree.drop(tree.top.children["burstable"])
	tree.rebuild()
	wantPaths(t, "gone", tree.changes.Gone)
	wantPaths(t, "born", tree.changes.Born, "")
}

// A cgroup that was written to and then removed is gone, and nothing else.
func TestTreeRewrittenThenGone(t *testing.T) {
	root := t.TempDir()
	pod := makePod(t, root, "burstable", 1, 1)
	tree := newTestTree(t, root, TreeConfig{Watch: true})
	refresh(t, tree)
	n := tree.top.children["burstable"].children[podName(1)].children[containerName(0)]
	err := tree.watch.take(encode(notice{watch: n.watch, mask: unix.IN_MODIFY, name: []byte("memory.max")}))
	if err != nil {
		t.Fatal(err)
	}
	rmdir(t, filepath.Join(pod, n.name))
	changes := refresh(t, tree)
	wantPaths(t, "gone", changes.Gone, "/burstable/"+podName(1)+"/"+n.name)
	wantPaths(t, "rewritten", changes.Rewritten)
}
