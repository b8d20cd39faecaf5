// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// TestLateCPUTimeIsTold removes cgroups as early as the kernel lets it, while
// their last task is still on its way out on another CPU. What deaths and
// what comes after them tell is what the pod was charged.
func TestLateCPUTimeIsTold(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "hasty", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, tree, events.Config{})
	const n = 30
	keeper := tree.Containers(pod)[0]
	charge := func() uint64 { return usageOfOthers(t, pod, keeper) }
	before := charge()
	for range n {
		c, err := tree.StartContainer(pod, kubetree.ContainerSpec{Name: "brief", Work: work.Cmd("spin cpu=1ms")})
		if err != nil {
			t.Fatal(err)
		}
		for err = unix.Rmdir(c.Path); errors.Is(err, unix.EBUSY); err = unix.Rmdir(c.Path) {
			runtime.Gosched()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.RemoveContainer(c); err != nil {
			t.Fatal(err)
		}
	}
	var got recorder
	var told, charged uint64
	// The kernel takes its time to let go of a task (RCU).
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		r.Drain(&got)
		charged = charge() - before
		if told = lastUsages(got); told+n >= charged {
			break
		}
	}
	t.Logf("%d deaths told %d µs, with %d corrections %d µs; charged were %d µs",
		len(got.deaths), lastUsages(recorder{deaths: got.deaths}), len(got.late), told, charged)
	// Each is rounded down to microseconds. The scheduler's time of a group is a
	// little more than what its tasks were charged.
	most := charged + 1
	if strings.Contains(r.Status()[0].How, "by the scheduler") {
		most += charged / 1000
	}
	if len(got.deaths) != n || told > most || told+n < charged {
		t.Errorf("%d deaths with %d µs are told, want %d with %d µs", len(got.deaths), told, n, charged)
	}
	if lifecycle, _ := r.Tallies(); lifecycle != (events.Tally{}) {
		t.Errorf("tallies %+v, want none", lifecycle)
	}
}

// lastUsages adds up the most that was told of each cgroup, which is the last:
// another CPU may tell of a task that is gone before the death is told.
func lastUsages(got recorder) (micros uint64) {
	last := map[uint64]uint64{}
	note := func(id uint64, told *cgroupfs.Reading) {
		usage, _ := told.Get(cgroupfs.CPUUsage)
		last[id] = max(last[id], usage)
	}
	for _, d := range got.deaths {
		note(d.ID, &d.Final)
	}
	for _, l := range got.late {
		note(l.ID, &l.Final)
	}
	for _, usage := range last {
		micros += usage
	}
	return micros
}
