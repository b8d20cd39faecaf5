// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// Every directory of the recorded nodes is a cgroup that the agent knows, and
// the tree follows exactly those.
func TestRecordedTrees(t *testing.T) {
	want := map[string]map[Level]int{
		fixturetree.SystemdSteady:  {LevelKubepods: 1, LevelQoS: 2, LevelPod: 8, LevelContainer: 19},
		fixturetree.CgroupfsSteady: {LevelKubepods: 1, LevelQoS: 2, LevelPod: 8, LevelContainer: 19},
	}
	runtimes := map[string]string{fixturetree.SystemdSteady: "containerd", fixturetree.CgroupfsSteady: ""}
	for _, name := range fixturetree.Names() {
		t.Run(name, func(t *testing.T) {
			root, _ := fixturetree.Write(t, name)
			k, ok, err := FindKubepods(root, "")
			if err != nil || !ok {
				t.Fatalf("FindKubepods = %v, %v, %v", k, ok, err)
			}
			levels, paths := map[Level]int{}, map[string]bool{}
			err = filepath.WalkDir(filepath.Join(root, k.Path), func(p string, e fs.DirEntry, err error) error {
				if err != nil || !e.IsDir() {
					return err
				}
				path := p[len(root):]
				c, ok := Classify(k, path)
				if !ok {
					t.Errorf("Classify refused %q", path)
				}
				checkClassified(t, k, path, c)
				if c.Level == LevelContainer && c.Runtime != runtimes[name] {
					t.Errorf("runtime of %q is %q, want %q", path, c.Runtime, runtimes[name])
				}
				levels[c.Level]++
				paths[path] = true
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[name], levels); diff != "" {
				t.Errorf("cgroups per level (-want +got):\n%s", diff)
			}
			tree := newTestTree(t, root, TreeConfig{})
			got := map[string]bool{}
			for _, c := range refresh(t, tree).Born {
				got[c.Path] = true
			}
			if diff := cmp.Diff(paths, got); diff != "" {
				t.Errorf("followed cgroups (-want +got):\n%s", diff)
			}
		})
	}
}
