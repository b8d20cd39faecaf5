// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// used returns a world whose keeper left a state with everything in it.
func used(t testing.TB) *world {
	w := newWorld(t)
	pod := w.pod("p")
	a, b := w.container(pod, "a", true), w.container(pod, "b", false)
	w.start().SetEvents(true)
	w.sweeps(2)
	w.send(w.oom(pod, a, 3))
	w.remove(a)
	w.sweeps(3)
	w.oom(b, b, 1)
	w.sweeps(6)
	w.oom(pod, b, 1)
	w.sweep()
	return w
}

func TestStateIsKept(t *testing.T) {
	w := used(t)
	records := w.keeper.records
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	again := w.start()
	if diff := cmp.Diff(records, again.records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if again.lastID != records[0].ID {
		t.Errorf("the next record would be %d", again.lastID+1)
	}
	w.sweeps(8)
	want := map[string]string{"p/a pod": "1/3", "p/b container": "1/1", "p/b pod": "1/1"}
	if diff := cmp.Diff(want, again.counted()); diff != "" {
		t.Errorf("counts after a restart (-want +got):\n%s", diff)
	}
}

// After a restart of the node nothing is below the numbers of before, and what
// the new cgroups count is counted.
func TestAnotherBootKeepsCounts(t *testing.T) {
	w := used(t)
	w.sweeps(8)
	before := newWorld(t)
	before.counts, before.log = w.counts, w.log
	b := before.container(before.pod("p"), "b", false)
	k := New(Config{BootID: "another", Logger: slog.New(slog.DiscardHandler)})
	if err := k.LoadCounts(before.counts.state, before.now); err != nil {
		t.Fatal(err)
	}
	before.keeper = k
	before.oom(b, b, 1) // before the agent is up
	before.sweeps(6)
	want := map[string]string{"p/a pod": "1/3", "p/b container": "2/2", "p/b pod": "1/1"}
	if diff := cmp.Diff(want, k.counted()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	w := used(t)
	for name, state := range map[string][]byte{
		"empty": {}, "another version": {2}, "cut": w.counts.state[:len(w.counts.state)-3], "more": append(slices.Clip(w.counts.state), 1),
	} {
		k := New(Config{BootID: "boot", Logger: slog.New(slog.DiscardHandler)})
		if err := k.LoadCounts(state, w.now); !errors.Is(err, ErrState) || len(k.nodes) != 0 || k.resumed {
			t.Errorf("counts, %s: %v, with %d cgroups", name, err, len(k.nodes))
		}
	}
	for name, state := range map[string]string{
		"empty": "", "another version": `{"version":2}`, "no record": `{"version":1,"records":[null]}`, "cut": `{"version":1,`,
		"a scope to come": `{"version":1,"records":[{"scope":"galaxy"}]}`,
	} {
		k := New(Config{Logger: slog.New(slog.DiscardHandler)})
		if err := k.LoadRecords([]byte(state)); !errors.Is(err, ErrState) || k.records != nil {
			t.Errorf("records, %s: %v", name, err)
		}
	}
}

func TestWhatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	w := newWorld(t)
	b := w.container(w.pod("p"), "b", false)
	w.start()
	w.sweep()
	w.counts.err, w.log.err = os.ErrPermission, os.ErrPermission
	w.oom(b, b, 1)
	w.sweeps(4)
	w.counts.err, w.log.err = nil, nil
	w.sweep()
	if got := len(w.start().records); got != 1 {
		t.Errorf("%d records after the disk came back, want 1", got)
	}
	w.sweeps(4)
	if diff := cmp.Diff(map[string]string{"p/b container": "1/1"}, w.keeper.counted()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// FuzzState: a state that somebody damaged is refused, or taken without harm,
// and what was taken is written as something that can be read again.
func FuzzState(f *testing.F) {
	w := used(f)
	f.Add(w.counts.state, w.log.state)
	f.Add([]byte{1, 0, 0, 0, 0}, []byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, counts, records []byte) {
		quiet := slog.New(slog.DiscardHandler)
		k := New(Config{BootID: "boot", Logger: quiet})
		if err := errors.Join(k.LoadCounts(counts, w.now), k.LoadRecords(records)); err != nil {
			if !errors.Is(err, ErrState) {
				t.Fatalf("%v is no ErrState", err)
			}
		}
		k.Finish(w.now)
		k.Finish(w.now)
		again := New(Config{BootID: "boot", Logger: quiet})
		if err := again.LoadCounts(k.appendCounts(nil), w.now); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if err := again.LoadRecords(k.appendRecords(nil)); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
