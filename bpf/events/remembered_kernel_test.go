// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// openWithRoomForOne opens a Reader one of whose maps has room for a single entry.
func openWithRoomForOne(t *testing.T, name string) *Reader {
	t.Helper()
	l, err := newLoader(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.maps[name].Close(); err != nil {
		t.Fatal(err)
	}
	l.spec.Maps[name].MaxEntries = 1
	if l.maps[name], err = ebpf.NewMap(l.spec.Maps[name]); err != nil {
		t.Fatal(err)
	}
	return openFrom(t, l)
}

// openFrom opens the Reader that a loader was made for.
func openFrom(t *testing.T, l *loader) *Reader {
	t.Helper()
	r, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

type killCounter struct{ kills int }

func (*killCounter) OnBirth(*Birth) {}
func (*killCounter) OnDeath(*Death) {}
func (*killCounter) OnLate(*Late)   {}
func (k *killCounter) OnKill(*Kill) { k.kills++ }

// isEmpty says whether a map has no entry; key takes one that it has.
func isEmpty(t *testing.T, m *ebpf.Map, key any) bool {
	t.Helper()
	err := m.NextKey(nil, key)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return err != nil
}

// killOne has a container killed and removes it.
func killOne(t *testing.T, tree *kubetree.Tree, pod *kubetree.Pod) {
	t.Helper()
	c, err := tree.StartContainer(pod, kubetree.ContainerSpec{
		Name: "big", Work: work.Cmd("grow step=1Mi every=1ms"), SingleProcessOOMKill: true,
		Resources: kubetree.Resources{MemoryLimitBytes: 16 << 20},
	})
	if err == nil {
		_, err = tree.Wait(t.Context(), c)
	}
	if err == nil {
		err = tree.RemoveContainer(c)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func addPod(t *testing.T, tree *kubetree.Tree) *kubetree.Pod {
	t.Helper()
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "place", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// A killed process is remembered until it is gone. Where there is no room for it
// it is told all the same, and that it may be told again is counted.
func TestKilledProcessesAreForgotten(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	r := openWithRoomForOne(t, programMapTold)
	told, pod := r.maps[programMapTold], addPod(t, tree)
	nobody := programVictim{Signal: 1, Tgid: 1}
	if err := told.Put(nobody, uint8(1)); err != nil {
		t.Fatal(err)
	}
	var got killCounter
	for i, want := range []Tally{{Failed: 1}, {Failed: 1}} {
		killOne(t, tree, pod)
		r.Drain(&got)
		if _, oom := r.Tallies(); got.kills != i+1 || oom != want {
			t.Errorf("kill %d: %d told, %+v, want %+v", i+1, got.kills, oom, want)
		}
		if i == 0 {
			if err := told.Delete(nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	var key programVictim
	for range 100 { // the kernel takes its time to let go of a task
		if isEmpty(t, told, &key) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("process %+v is gone and still remembered", key)
}

// What was counted in a cgroup is forgotten with it, whosever it is.
func TestKillsOfCgroupsAreForgotten(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	r := openWithRoomForOne(t, programMapLastKills)
	kills := r.maps[programMapLastKills]
	dir := treetest.Root + "/slicewatch-test-other"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		t.Fatal(err)
	}
	if err := kills.Put(stat.Ino, uint64(3)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	var key uint64
	if !isEmpty(t, kills, &key) {
		t.Errorf("cgroup %d is gone and its kills still remembered", key)
	}
	killOne(t, tree, addPod(t, tree)) // and one is told as ever
	var got killCounter
	r.Drain(&got)
	if lifecycle, oom := r.Tallies(); got.kills != 1 || oom.Failed != 0 || lifecycle.Failed != 0 {
		t.Errorf("%d kills told, %+v, %+v", got.kills, lifecycle, oom)
	}
}
