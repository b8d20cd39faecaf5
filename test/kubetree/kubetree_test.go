// SPDX-License-Identifier: Apache-2.0

package kubetree_test

import (
	"os"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// addOne adds a pod of one container and returns that.
func addOne(t *testing.T, tree *kubetree.Tree, name string, spec kubetree.ContainerSpec) *kubetree.Container {
	t.Helper()
	spec.Name = name
	return addPod(t, tree, kubetree.PodSpec{Name: name, Containers: []kubetree.ContainerSpec{spec}})
}

// addPod adds a pod and returns its first container.
func addPod(t *testing.T, tree *kubetree.Tree, spec kubetree.PodSpec) *kubetree.Container {
	t.Helper()
	pod, err := tree.AddPod(spec)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Containers(pod)[0]
}

// number reads one number of a cgroup; "max" and absent fail the test.
func number(t *testing.T, dir, file, key string) uint64 {
	t.Helper()
	f, err := truth.ReadFile(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	n, isMax, ok := truth.Cgroup{file: f}.Value(file, key)
	if !ok || isMax {
		t.Fatalf("%s of %s has no number under %q: %v", file, dir, key, f)
	}
	return n
}

// eventually waits until the number is at least want.
func eventually(t *testing.T, dir, file, key string, want uint64) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		got := number(t, dir, file, key)
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s of %s is %d, never reached %d", file, key, dir, got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
