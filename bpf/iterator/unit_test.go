// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/layouts"
)

func TestAdjust(t *testing.T) {
	tests := map[string]struct {
		shown               cpuSplit
		total, user, system uint64
		want                cpuSplit
	}{
		"proportion of ticks":       {cpuSplit{}, 1000, 3, 1, cpuSplit{750, 250}},
		"no system tick":            {cpuSplit{}, 1000, 3, 0, cpuSplit{1000, 0}},
		"no user tick":              {cpuSplit{}, 1000, 0, 3, cpuSplit{0, 1000}},
		"no tick at all":            {cpuSplit{}, 1000, 0, 0, cpuSplit{1000, 0}},
		"nothing new":               {cpuSplit{600, 400}, 1000, 0, 9, cpuSplit{600, 400}},
		"system must not fall":      {cpuSplit{100, 400}, 1000, 9, 1, cpuSplit{600, 400}},
		"user must not fall":        {cpuSplit{700, 100}, 1000, 1, 9, cpuSplit{700, 300}},
		"shown by two more than is": {cpuSplit{700, 400}, 1000, 1, 1, cpuSplit{700, 300}},
		"a product of 128 bits":     {cpuSplit{}, 3 << 60, 1 << 60, 1 << 60, cpuSplit{3 << 59, 3 << 59}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.shown.adjust(test.total, test.user, test.system); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// Whatever the ticks say, no part ever falls, and while nobody else reads, the
// parts are the whole.
func TestAdjustNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var split cpuSplit
		var total, user, system uint64
		for range rapid.IntRange(1, 50).Draw(t, "sweeps") {
			total += rapid.Uint64Range(0, 1<<40).Draw(t, "ran")
			user += rapid.Uint64Range(0, 1<<40).Draw(t, "user")
			system += rapid.Uint64Range(0, 1<<40).Draw(t, "system")
			next := split.adjust(total, user, system)
			if next.user < split.user || next.system < split.system {
				t.Fatalf("%+v fell to %+v", split, next)
			}
			if next.user+next.system != total {
				t.Fatalf("%+v is not %d in sum", next, total)
			}
			split = next
		}
	})
}

func TestWeight(t *testing.T) {
	// Shares as sched_weight_from_cgroup() and scale_load() make them.
	for want, shares := range map[uint64]uint64{100: 1024 << 10, 1: 10 << 10, 10000: 102400 << 10, 59: 604 << 10, 0: 3 << 10} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are a weight of %d, want %d", shares, got, want)
		}
	}
}

func TestLimit(t *testing.T) {
	for _, pageBytes := range []uint64{4096, 65536} {
		r := &Reader{pageBytes: pageBytes}
		if got := r.limit(math.MaxInt64 / pageBytes); got != cgroupfs.Unlimited {
			t.Errorf("PAGE_COUNTER_MAX with pages of %d is %d", pageBytes, got)
		}
		if got := r.limit(3); got != 3*pageBytes {
			t.Errorf("3 pages of %d are %d", pageBytes, got)
		}
	}
}

func TestStateIndex(t *testing.T) {
	direct := layout{states: 50, items: map[string]uint64{
		"NR_ANON_MAPPED": 17, "MEMCG_SWAP": 43, "MEMCG_SOCK": 44, "MEMCG_KMEM": 47, "MEMCG_NR_STAT": 50,
	}}
	compacted := layout{states: 38, items: map[string]uint64{
		"NR_ANON_MAPPED": 17, "NR_SHMEM": 22, "NR_FOLLOWS_NOTHING_KNOWN": 30, "MEMCG_SWAP": 47, "MEMCG_SOCK": 48, "MEMCG_KMEM": 51, "MEMCG_NR_STAT": 54,
	}}
	tests := []struct {
		name string
		l    layout
		item string
		want int32
	}{
		{"6.1", direct, "NR_ANON_MAPPED", 17},
		{"6.1, the controller's own", direct, "MEMCG_KMEM", 47},
		{"6.1, unknown", direct, "NR_OTHER", -1},
		{"6.12", compacted, "NR_ANON_MAPPED", 14},
		{"6.12, last of the known", compacted, "NR_SHMEM", 19},
		{"6.12, the controller's own", compacted, "MEMCG_SOCK", 32},
		{"6.12, the controller's own, later", compacted, "MEMCG_KMEM", 35},
		{"6.12, beyond the known", compacted, "NR_FOLLOWS_NOTHING_KNOWN", -1},
		{"no types", layout{}, "NR_ANON_MAPPED", -1},
	}
	for _, test := range tests {
		if got := test.l.stateIndex(test.item); got != test.want {
			t.Errorf("%s: %s is at %d, want %d", test.name, test.item, got, test.want)
		}
	}
}

// A place that is wrong shows in the comparison with the file, a value that
// moves does not.
func TestCompare(t *testing.T) {
	r := &Reader{}
	for _, f := range []cgroupfs.Field{cgroupfs.MemoryAnon, cgroupfs.MemoryFile, cgroupfs.MemorySock, cgroupfs.MemoryMajorFaults, cgroupfs.MemoryPeak, cgroupfs.CPUBurst} {
		r.given[f] = true
	}
	reading := func(anon, file, faults uint64) cgroupfs.Reading {
		var got cgroupfs.Reading
		got.Set(cgroupfs.MemoryAnon, anon)
		got.Set(cgroupfs.MemoryFile, file)
		got.Set(cgroupfs.MemorySock, 0)
		got.Set(cgroupfs.MemoryMajorFaults, faults)
		return got
	}
	before, inFile, after := reading(10<<20, 1<<20, 100), reading(20<<20, 90<<20, 150), reading(30<<20, 1<<20, 200)
	before.Set(cgroupfs.MemoryPeak, 1)
	after.Set(cgroupfs.MemoryPeak, 1) // and the file is not there
	r.compare(&before, &inFile, &after)
	var given []cgroupfs.Field
	for f := range cgroupfs.NumFields {
		if r.Gives(f) {
			given = append(given, f)
		}
	}
	want := []cgroupfs.Field{cgroupfs.CPUBurst, cgroupfs.MemoryAnon, cgroupfs.MemorySock, cgroupfs.MemoryMajorFaults}
	if diff := cmp.Diff(want, given); diff != "" {
		t.Errorf("given after the comparison (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]cgroupfs.Field{cgroupfs.MemorySock}, r.unproven); diff != "" {
		t.Errorf("not proven (-want +got):\n%s", diff)
	}
	if r.Generation() != 2 {
		t.Errorf("%d changes are told, want 2", r.Generation())
	}
}

func TestFilesAreThoseWithoutAGap(t *testing.T) {
	r := &Reader{}
	for f := range cgroupfs.NumFields {
		r.given[f] = f != cgroupfs.MemorySock && f.Info().File != "io.stat"
	}
	files := strings.Join(r.Files(), " ")
	for _, not := range []string{"memory.stat", "io.stat"} {
		if strings.Contains(files, not) {
			t.Errorf("%s would not be read: %s", not, files)
		}
	}
	if !strings.Contains(files, "cpu.stat") || !strings.Contains(files, "memory.max") {
		t.Errorf("files that need not be read: %s", files)
	}
}

// The program and Go see the same bytes.
func TestLayouts(t *testing.T) {
	layouts.Compare(t, "program", map[string]any{"record": programRecord{}, "walk": programWalk{}})
	if len(events) != len(programRecord{}.Events) || len(statistics) != len(programRecord{}.States) {
		t.Error("the numbers of statistics differ between C and Go")
	}
}

// A walk of the same cgroups is not indexed anew; one of others is.
func TestIndex(t *testing.T) {
	r := &Reader{places: map[uint64]int32{}}
	for _, ids := range [][]uint64{{1, 2, 3}, {1, 2, 3}, {1, 3}, {1, 4, 3}, nil, {7}} {
		records := make([]programRecord, len(ids))
		want := map[uint64]int32{}
		for i, id := range ids {
			records[i].Id = id
			want[id] = int32(i)
		}
		r.index(records)
		if diff := cmp.Diff(want, r.places); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ids, diff)
		}
	}
}
