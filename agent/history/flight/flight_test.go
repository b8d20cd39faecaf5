// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var start = time.UnixMilli(1_800_000_000_000).UTC()

func second(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func reading(values map[cgroupfs.Field]uint64) *cgroupfs.Reading {
	var r cgroupfs.Reading
	for f, v := range values {
		r.Set(f, v)
	}
	return &r
}

func known(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }

func TestMomentsHaveGrowthAndLeaveOutTheAbsent(t *testing.T) {
	r := New(Config{Moments: 3, Containers: 2, Retention: time.Minute})
	r.Note(7, second(0), reading(map[cgroupfs.Field]uint64{cgroupfs.CPUUsage: 100, cgroupfs.MemoryCurrent: 1 << 20}))
	r.Note(7, second(1), reading(map[cgroupfs.Field]uint64{
		cgroupfs.CPUUsage: 350, cgroupfs.CPUThrottled: 9, cgroupfs.MemoryCurrent: 3 << 20, cgroupfs.MemoryInactiveFile: 1 << 20, cgroupfs.MemoryAnon: 4096,
	}))
	r.Note(7, second(2), reading(map[cgroupfs.Field]uint64{cgroupfs.CPUUsage: 50, cgroupfs.CPUThrottled: 9, cgroupfs.MemoryPressureSome: 5}))
	r.Note(7, second(3), reading(map[cgroupfs.Field]uint64{cgroupfs.CPUUsage: 1 << 40, cgroupfs.CPUPressureSome: 1, cgroupfs.MemoryPressureSome: 8}))
	want := []snapshot.Moment{
		{
			Time: second(1), MemoryBytes: known(3 << 20), WorkingSetBytes: known(2 << 20), AnonBytes: known(4096),
			CPUMicros: known(250),
		},
		{Time: second(2), ThrottledMicros: known(0)}, // a counter that fell is not growth
		{Time: second(3), CPUMicros: known(1<<32 - 1), MemoryPressureMicros: known(3)},
	}
	if diff := cmp.Diff(want, r.Append(nil, 7, second(-9), second(9))); diff != "" {
		t.Errorf("moments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:2], r.Append(nil, 7, second(1), second(2))); diff != "" {
		t.Errorf("a part of them (-want +got):\n%s", diff)
	}
	if got := r.Append(nil, 8, second(-9), second(9)); got != nil {
		t.Errorf("moments of a container that was never noted: %v", got)
	}
}

func TestEndedOnesMakeRoomAndLivingOnesDoNot(t *testing.T) {
	r := New(Config{Moments: 2, Containers: 2, Retention: time.Minute})
	memory := reading(map[cgroupfs.Field]uint64{cgroupfs.MemoryCurrent: 4096, cgroupfs.CPUUsage: 3})
	r.Note(1, second(0), memory)
	r.Note(2, second(0), memory)
	r.Note(3, second(0), memory)
	if diff := cmp.Diff(Stats{Containers: 2, Refused: 1}, r.Stats()); diff != "" {
		t.Fatalf("with two living ones (-want +got):\n%s", diff)
	}
	r.End(1, second(1))
	r.Expire(second(30))
	if got := len(r.Append(nil, 1, second(-1), second(9))); got != 1 {
		t.Errorf("%d moments of one that ended 29 s ago, want 1", got)
	}
	r.Note(3, second(31), memory)
	if got := r.Append(nil, 1, second(-1), second(99)); got != nil {
		t.Errorf("the ended one is still there: %v", got)
	}
	// The tape was another container's: nothing of it may be left.
	want := []snapshot.Moment{{Time: second(31), MemoryBytes: known(4096)}}
	if diff := cmp.Diff(want, r.Append(nil, 3, second(-1), second(99))); diff != "" {
		t.Errorf("moments on a used tape (-want +got):\n%s", diff)
	}
	r.End(3, second(32))
	r.Expire(second(92))
	if got := r.Stats().Containers; got != 1 {
		t.Errorf("%d containers after the retention, want the living one", got)
	}
}

func TestNoteAllocatesNothing(t *testing.T) {
	r := New(Config{Moments: 60, Containers: 10, Retention: time.Minute})
	memory := reading(map[cgroupfs.Field]uint64{cgroupfs.MemoryCurrent: 4096, cgroupfs.CPUUsage: 3})
	r.Note(1, second(0), memory)
	n := 0
	if got := testing.AllocsPerRun(100, func() {
		n++
		r.Note(1, second(n), memory)
		r.Expire(second(n))
	}); got != 0 {
		t.Errorf("%v allocations per note, want 0", got)
	}
}

func BenchmarkNote(b *testing.B) {
	r := New(Config{Moments: 300, Containers: 10, Retention: time.Minute})
	memory := reading(map[cgroupfs.Field]uint64{cgroupfs.MemoryCurrent: 4096, cgroupfs.CPUUsage: 3})
	b.ReportAllocs()
	for b.Loop() {
		r.Note(1, start, memory)
	}
}
