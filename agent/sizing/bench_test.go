// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// node is 110 pods of two containers, each a workload of its own, which is the
// most that their histories can take.
func node(tb testing.TB) (*world, *snapshot.Snapshot) {
	tb.Helper()
	w := newWorld(nil, history.NewStore(history.Config{}), fullNode()...)
	return w, w.seconds(90)
}

func fullNode() []*box {
	var all []*box
	for pod := range 110 {
		for _, name := range []string{"app", "proxy"} {
			b := newBox(uint64(len(all)+1), fmt.Sprintf("web-%d", pod), name)
			b.identity.Workload = fmt.Sprintf("web-%d", pod)
			b.micros = uint64(500 + 97*len(all))
			all = append(all, b)
		}
	}
	return all
}

// A full node's hints are the same after a restart, once each was made again.
func TestRestartOfAFullNode(t *testing.T) {
	boxes, journal := fullNode(), &memoryJournal{}
	w := newWorld(journal, history.NewStore(history.Config{}), boxes...)
	before := map[string]*snapshot.Hint{}
	for _, c := range w.seconds(90).Containers {
		before[c.Identity.Pod+" "+c.Identity.Name] = new(*c.Hint)
	}
	w.Close()
	store := history.NewStore(history.Config{})
	if err := store.Load(journal.state); err != nil {
		t.Fatal(err)
	}
	again := newWorld(journal, store, boxes...)
	again.now = w.now
	after := again.seconds(1 + len(boxes)/maxEvaluations) // it makes so many hints a second
	if len(before) != 220 || len(after.Containers) != len(before) {
		t.Fatalf("%d containers before, %d after", len(before), len(after.Containers))
	}
	for _, c := range after.Containers {
		was := before[c.Identity.Pod+" "+c.Identity.Name]
		if !was.CPURequestCores.Known || !was.MemoryLimitBytes.Known {
			t.Fatalf("no hint before: %s", sentences(was))
		}
		ignored := cmpopts.IgnoreFields(snapshot.Reason{}, "Text", "Evidence")
		if diff := cmp.Diff(was, c.Hint, ignored, cmpopts.IgnoreFields(snapshot.Hint{}, "Confidence")); diff != "" {
			t.Errorf("%s/%s (-before +after):\n%s", c.Identity.Pod, c.Identity.Name, diff)
		}
	}
}

// BenchmarkSweep is what hints cost a sweep of 220 containers, hints that are
// due included.
func BenchmarkSweep(b *testing.B) {
	w, snap := node(b)
	b.ReportAllocs()
	for b.Loop() {
		for i := range snap.Containers {
			snap.Containers[i].Total.Add(0, 20_000)
		}
		snap.Taken = snap.Taken.Add(time.Second)
		w.Fill(snap)
	}
}

// BenchmarkSave is what saving the histories of 220 containers costs, every five
// minutes.
func BenchmarkSave(b *testing.B) {
	w, _ := node(b)
	b.ReportAllocs()
	bytes := 0
	for b.Loop() {
		state, err := w.cfg.Store.AppendState(nil)
		if err != nil {
			b.Fatal(err)
		}
		bytes = len(state)
	}
	b.ReportMetric(float64(bytes), "B/state")
}

// TestBytesPerContainer holds what a container's history, with its hint, may
// take.
func TestBytesPerContainer(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w, snap := node(t)
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := int64(after.HeapAlloc-before.HeapAlloc) / int64(len(snap.Containers))
	t.Logf("%d bytes a container, of which this test's own containers are some 2,500", bytes)
	if bytes > 20_000 {
		t.Errorf("%d bytes a container", bytes)
	}
	runtime.KeepAlive(w)
	runtime.KeepAlive(snap)
}
