// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"testing"
)

// newTestTree follows root until the test ends.
func newTestTree(t testing.TB, root string, cfg TreeConfig) *Tree {
	t.Helper()
	tree, err := NewTree(root, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Errorf("close the tree: %v", err)
		}
	})
	return tree
}

// refresh refreshes tree, which must succeed.
func refresh(t testing.TB, tree *Tree) Changes {
	t.Helper()
	changes, err := tree.Refresh()
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	return changes
}
