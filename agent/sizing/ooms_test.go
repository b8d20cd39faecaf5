// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// kill adds a record of a kill now, which every snapshot has from then on.
func (w *world) kill(container string, scope snapshot.OOMScope, limit int64) *snapshot.OOMRecord {
	r := &snapshot.OOMRecord{
		ID: uint64(len(w.records) + 1), Time: w.now, Namespace: "shop", Pod: "web-0", PodUID: "uid-web-0", Container: container,
		WorkloadKind: "Deployment", Workload: "web", Scope: scope, Limit: &snapshot.OOMLimit{Bytes: snapshot.Amount{N: limit, Known: limit > 0}},
	}
	w.records = append([]*snapshot.OOMRecord{r}, w.records...)
	w.change = func(s *snapshot.Snapshot) { s.OOMRecords = w.records }
	return r
}

func (b *box) holds(bytes, limit uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading.Set(cgroupfs.MemoryCurrent, bytes)
	b.reading.Set(cgroupfs.MemoryMax, limit)
}

func TestOOMsRaiseWhoeverUsedMost(t *testing.T) {
	victim, greedy := newBox(1, "web-0", "app"), newBox(2, "web-0", "proxy")
	greedy.reading.Set(cgroupfs.MemoryCurrent, 500*mi)
	w := newWorld(nil, history.NewStore(history.Config{}), victim, greedy)
	w.seconds(70)
	record := func(id uint64, container string, scope snapshot.OOMScope) {
		r := &snapshot.OOMRecord{ID: id, Time: w.now, Namespace: "shop", Pod: "web-0", Container: container, WorkloadKind: "Deployment", Workload: "web", Scope: scope}
		w.change = func(s *snapshot.Snapshot) { s.OOMRecords = []*snapshot.OOMRecord{r} }
	}
	record(1, "app", snapshot.ScopePod)
	snap := w.seconds(2)
	if has(snap.Containers[0].Hint, snapshot.ReasonMemoryPodOOM) || !has(snap.Containers[1].Hint, snapshot.ReasonMemoryPodOOM) {
		t.Error("the raise did not go to the container that used most over its share")
	}
	if h := snap.Containers[1].Hint; h.MemoryLimitBytes.V < 768*mi || !h.Urgent {
		t.Errorf("not raised: %+v", h)
	}
	record(2, "app", snapshot.ScopeNode)
	if snap = w.seconds(2); !has(snap.Containers[0].Hint, snapshot.ReasonMemoryOtherOOM) || snap.Containers[0].Hint.MemoryLimitBytes.V > 300*mi {
		t.Errorf("after the node's OOM: %+v", snap.Containers[0].Hint)
	}
	count := w.cfg.Store.Find(keyOf(greedy.identity)).OOMs(w.now).Count
	if w.seconds(5); w.cfg.Store.Find(keyOf(greedy.identity)).OOMs(w.now).Count != count {
		t.Error("a kill was taken in twice")
	}
}

// A container that is killed before it was ever read gets its memory hint.
func TestKilledBeforeAnySample(t *testing.T) {
	app := newBox(1, "web-0", "app")
	app.reading, app.ended = cgroupfs.Reading{}, time.Date(2027, 1, 11, 12, 0, 0, 0, time.UTC)
	w := newWorld(nil, history.NewStore(history.Config{}), app)
	w.change = func(s *snapshot.Snapshot) {
		s.OOMRecords = []*snapshot.OOMRecord{{
			ID: 7, Time: w.now, Namespace: "shop", Pod: "web-0", Container: "app", WorkloadKind: "Deployment", Workload: "web",
			Scope: snapshot.ScopeContainer, Limit: &snapshot.OOMLimit{Bytes: snapshot.Amount{N: 64 * mi, Known: true}},
		}}
	}
	if h := w.second().Containers[0].Hint; h == nil || h.MemoryLimitBytes.V < 164*mi || h.CPURequestCores.Known {
		t.Errorf("got %+v", h)
	}
}

// Records come after the kill, when whoever had the memory has none.
func TestPodOOMGoesToWhoHadTheMemoryBefore(t *testing.T) {
	for _, late := range []int{0, 1, 9} {
		idle, greedy := newBox(1, "web-0", "app"), newBox(2, "web-0", "proxy")
		greedy.holds(500*mi, 512*mi)
		w := newWorld(nil, history.NewStore(history.Config{}), idle, greedy)
		w.seconds(70)
		greedy.holds(3*mi, 512*mi)
		w.now = w.now.Add(300 * time.Millisecond)
		r := w.kill("proxy", snapshot.ScopePod, 1024*mi)
		w.change = nil
		w.now = w.now.Add(-300 * time.Millisecond)
		for range late {
			w.second()
		}
		w.change = func(s *snapshot.Snapshot) { s.OOMRecords = []*snapshot.OOMRecord{r} }
		snap := w.seconds(2)
		if has(snap.Containers[0].Hint, snapshot.ReasonMemoryPodOOM) || !has(snap.Containers[1].Hint, snapshot.ReasonMemoryPodOOM) {
			t.Errorf("%d sweeps late: the raise did not go to the container that had used most\n%s", late, sentences(snap.Containers[1].Hint))
		}
		got := w.cfg.Store.Find(keyOf(greedy.identity)).OOMs(w.now).Newest
		if diff := cmp.Diff([]float64{500 * mi, 512 * mi}, []float64{got.UsedBytes, got.LimitBytes}); diff != "" {
			t.Errorf("%d sweeps late: used and limit (-want +got):\n%s", late, diff)
		}
	}
}

// The pod of the same name that was there before has nothing to do with it.
func TestPodOOMIsOfOnePod(t *testing.T) {
	before, now := newBox(1, "web-0", "app"), newBox(2, "web-0", "app")
	before.identity.PodUID, before.ended = "uid-of-another", time.Date(2027, 1, 11, 12, 0, 0, 0, time.UTC)
	w := newWorld(nil, history.NewStore(history.Config{}), before, now)
	w.seconds(5)
	r := w.kill("app", snapshot.ScopePod, 512*mi)
	for range 20 { // of the order in which a map is gone through
		if pod := w.podOf(r); len(pod) != 1 || pod[0].identity != now.identity {
			t.Fatalf("%d containers", len(pod))
		}
	}
}

// What is killed before any sweep saw it had what its siblings had not.
func TestPodOOMOfAContainerThatNoSweepSaw(t *testing.T) {
	for _, test := range []struct {
		name   string
		others func() []*box
		rss    uint64
		want   history.OOM
	}{
		{name: "alone", rss: 60 * mi, want: history.OOM{UsedBytes: 60 * mi, LimitBytes: 64 * mi}},
		{
			name: "beside one that uses little", want: history.OOM{UsedBytes: (576 - 100) * mi, LimitBytes: 64 * mi},
			others: func() []*box { return []*box{newBox(1, "web-0", "app")} },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			limit, boxes := int64(64*mi), []*box(nil)
			if test.others != nil {
				boxes = test.others()
				limit = 576 * mi
			}
			w := newWorld(nil, history.NewStore(history.Config{}), boxes...)
			w.seconds(5)
			r := w.kill("proxy", snapshot.ScopePod, limit)
			if test.rss > 0 {
				r.Victims = []snapshot.OOMVictim{{AnonBytes: test.rss}}
			}
			w.second()
			series := w.cfg.Store.Find(keyOf(newBox(9, "web-0", "proxy").identity))
			if series == nil {
				t.Fatal("it has no history")
			}
			test.want.At, test.want.Scope = r.Time, history.OOMPod
			if diff := cmp.Diff(test.want, series.OOMs(w.now).Newest); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// kills is what the histories of two containers know of theirs.
func kills(w *world, all ...*box) []history.OOMs {
	var known []history.OOMs
	for _, b := range all {
		known = append(known, w.cfg.Store.Find(keyOf(b.identity)).OOMs(w.now))
	}
	return known
}

// Every record counts once, however the agent ends, and by the limits of then.
func TestRestartCountsNoKillAgain(t *testing.T) {
	for _, clean := range []bool{true, false} {
		app, proxy := newBox(1, "web-0", "app"), newBox(2, "web-0", "proxy")
		journal := &memoryJournal{}
		w := newWorld(journal, history.NewStore(history.Config{}), app, proxy)
		w.seconds(70)
		w.kill("app", snapshot.ScopeContainer, 512*mi)
		w.seconds(30)
		proxy.holds(400*mi, 512*mi)
		w.seconds(5)
		w.kill("app", snapshot.ScopePod, 1024*mi)
		w.seconds(90)
		w.kill("app", snapshot.ScopeNode, 0)
		w.kill("proxy", snapshot.ScopeContainer, 512*mi)
		w.seconds(3)
		if clean {
			w.Close()
		} else {
			journal.state = <-w.states
		}
		want := kills(w, app, proxy)
		if want[0].Count != 1 || want[0].Elsewhere != 1 || want[1].Count != 2 {
			t.Fatalf("before the restart: %+v", want)
		}

		store := history.NewStore(history.Config{})
		if err := store.Load(journal.state); err != nil {
			t.Fatal(err)
		}
		app.holds(100*mi, 2048*mi)
		proxy.holds(100*mi, 2048*mi)
		again := newWorld(journal, store, app, proxy)
		again.now, again.records, again.change = w.now, w.records, w.change
		again.seconds(2)
		again.now = w.now
		if diff := cmp.Diff(want, kills(again, app, proxy)); diff != "" {
			t.Errorf("ended cleanly %t: after the restart (-want +got):\n%s", clean, diff)
		}
		again.now = again.now.Add(2 * time.Second)
		again.kill("app", snapshot.ScopeContainer, 2048*mi)
		again.second()
		if got := kills(again, app)[0]; got.Count != 2 || got.Newest.LimitBytes != 2048*mi {
			t.Errorf("the next kill: %+v", got)
		}
	}
}

// The kills of the time before the first history count, but once, and by the
// limits of then where these were lower.
func TestKillsOfBeforeTheFirstHistory(t *testing.T) {
	app, proxy := newBox(1, "web-0", "app"), newBox(2, "web-0", "proxy")
	app.holds(900*mi, 1024*mi)
	w := newWorld(nil, history.NewStore(history.Config{}), app, proxy)
	w.now = w.now.Add(-30 * time.Hour)
	w.kill("app", snapshot.ScopeContainer, 256*mi) // too long ago
	w.now = w.now.Add(29 * time.Hour)
	w.kill("app", snapshot.ScopePod, 768*mi) // half of what both have now
	w.now = w.now.Add(time.Hour)
	w.seconds(3)
	if got := kills(w, app)[0]; got.Count != 1 || got.Newest.LimitBytes != 512*mi {
		t.Errorf("%+v", got)
	}
}

// The records of a state directory that was lost have numbers that were used before.
func TestNumbersOfRecordsThatBeginAnew(t *testing.T) {
	app := newBox(1, "web-0", "app")
	w := newWorld(nil, history.NewStore(history.Config{}), app)
	w.cfg.Store.Tell(history.Told{ID: 40, At: w.now})
	w.seconds(3)
	for i := range 3 {
		w.kill("app", snapshot.ScopeContainer, 512*mi)
		w.seconds(2)
		if got := kills(w, app)[0].Count; got != uint64(i+1) {
			t.Errorf("%d kills, %d counted", i+1, got)
		}
	}
	if got := w.cfg.Store.Told(); got.ID != 3 || !slices.ContainsFunc(w.records, func(r *snapshot.OOMRecord) bool { return r.Time.Equal(got.At) }) {
		t.Errorf("marked up to %+v", got)
	}
}

// What is killed right at its start has its names later than its record.
func TestRecordsThatGetTheirNamesLate(t *testing.T) {
	w := newWorld(nil, history.NewStore(history.Config{}))
	w.seconds(3)
	named := w.kill("app", snapshot.ScopeContainer, 64*mi)
	nameless := *named
	nameless.Namespace, nameless.Pod, nameless.Container, nameless.Workload, nameless.WorkloadKind = "", "", "", "", ""
	w.records = []*snapshot.OOMRecord{&nameless}
	w.seconds(5)
	w.records = []*snapshot.OOMRecord{named}
	w.seconds(5)
	app := newBox(1, "web-0", "app")
	if w.cfg.Store.Find(keyOf(app.identity)) == nil {
		t.Fatal("it has no history")
	}
	if got := kills(w, app)[0]; got.Count != 1 || got.Newest.LimitBytes != 64*mi || len(w.unnamed) != 0 {
		t.Errorf("%+v, %d records wait for names", got, len(w.unnamed))
	}
}
