// SPDX-License-Identifier: Apache-2.0

package stretch_test

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/bpf/durations/stretch"
)

type interval = stretch.Interval

// union returns the lengths of the stretches that intervals make, cut at
// MaxNanos, in any order of the intervals: what a Merger has to come to.
func union(intervals []interval) []uint64 {
	sorted := slices.SortedFunc(slices.Values(intervals), func(a, b interval) int { return cmp.Compare(a.Start, b.Start) })
	var lengths []uint64
	for i := 0; i < len(sorted); {
		start, end := sorted[i].Start, sorted[i].End
		for i++; i < len(sorted) && sorted[i].Start <= end; i++ {
			end = max(end, sorted[i].End)
		}
		for ; end-start > stretch.MaxNanos; start += stretch.MaxNanos {
			lengths = append(lengths, stretch.MaxNanos)
		}
		if end > start {
			lengths = append(lengths, end-start)
		}
	}
	slices.Sort(lengths)
	return lengths
}

func TestMerger(t *testing.T) {
	const s = 1_000_000_000
	for name, test := range map[string]struct {
		in   []interval
		want []uint64
	}{
		"nothing":                           {nil, nil},
		"one":                               {[]interval{{10, 15}}, []uint64{5}},
		"apart":                             {[]interval{{10, 15}, {16, 18}}, []uint64{2, 5}},
		"touching":                          {[]interval{{10, 15}, {15, 18}}, []uint64{8}},
		"four CPUs at once":                 {[]interval{{10, 15}, {10, 15}, {11, 16}, {9, 17}}, []uint64{8}},
		"one that joins what was apart":     {[]interval{{10, 15}, {16, 18}, {30, 31}, {12, 30}}, []uint64{21}},
		"one that comes late":               {[]interval{{10, 15}, {16, 18}, {2, 4}}, []uint64{2, 2, 5}},
		"empty":                             {[]interval{{10, 10}}, nil},
		"longer than the longest":           {[]interval{{10, 10 + 25*s}}, []uint64{5 * s, 10 * s, 10 * s}},
		"as long as the longest":            {[]interval{{10, 10 + 10*s}}, []uint64{10 * s}},
		"a chain as long as two and a half": {[]interval{{0, 9 * s}, {8 * s, 17 * s}, {16 * s, 25 * s}}, []uint64{5 * s, 10 * s, 10 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			var m stretch.Merger
			var got []uint64
			tell := func(nanos uint64) { got = append(got, nanos) }
			for _, in := range test.in {
				m.Add(in, tell)
			}
			m.Finish(tell)
			slices.Sort(got)
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if diff := gocmp.Diff(test.want, union(test.in)); diff != "" {
				t.Errorf("the model says (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToldWhenQuietAndNoSooner(t *testing.T) {
	var m stretch.Merger
	var got []uint64
	tell := func(nanos uint64) { got = append(got, nanos) }
	m.Add(interval{100, 200}, tell)
	m.Settle(1000, tell)
	m.Settle(2000, tell)
	if got != nil {
		t.Fatalf("told %d although another CPU may be held", got)
	}
	m.Add(interval{150, 2500}, tell)
	m.Quiet(2500)
	m.Settle(3000, tell)
	if got != nil {
		t.Fatalf("told %d although something may be on its way", got)
	}
	m.Add(interval{90, 2400}, tell)
	m.Settle(4000, tell)
	if diff := gocmp.Diff([]uint64{2410}, got); diff != "" || m.Pending() {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// A container that always has a CPU held, and whose quiet moments got lost, is
// told of all the same.
func TestNeverSilent(t *testing.T) {
	const s = 1_000_000_000
	var m stretch.Merger
	told, worst, at := uint64(0), uint64(0), uint64(0)
	tell := func(nanos uint64) { told += nanos }
	for now := uint64(s); now < 300*s; now += s {
		m.Add(interval{now - s, now}, tell)
		before := told
		m.Settle(now, tell)
		if told > before {
			worst, at = max(worst, now-at), now
		}
	}
	if worst > 2*stretch.MaxNanos+2*s {
		t.Errorf("silent for %d s", worst/s)
	}
	m.Finish(tell)
	if told != 299*s {
		t.Errorf("told of %d ns in all, want %d", told, 299*s)
	}
}

func TestBounded(t *testing.T) {
	var m stretch.Merger
	told, count := uint64(0), 0
	tell := func(nanos uint64) { told, count = told+nanos, count+1 }
	for i := range uint64(10_000) {
		m.Add(interval{100 * i, 100*i + 7}, tell)
	}
	if count < 9_000 {
		t.Errorf("%d of 10000 told: the rest is kept", count)
	}
	m.Finish(tell)
	if told != 70_000 || count != 10_000 {
		t.Errorf("told %d, %d ns", count, told)
	}
}

// Whatever comes in whatever order, no time is told twice and none is lost.
func FuzzMerger(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, data []byte) {
		var m stretch.Merger
		var all []interval
		told := uint64(0)
		tell := func(nanos uint64) { told += nanos }
		for ; len(data) >= 4 && len(all) < 100; data = data[4:] {
			start := uint64(binary.LittleEndian.Uint16(data))
			in := interval{start, start + uint64(binary.LittleEndian.Uint16(data[2:]))}
			all = append(all, in)
			m.Add(in, tell)
		}
		m.Finish(tell)
		want := uint64(0)
		for _, length := range union(all) {
			want += length
		}
		if told != want {
			t.Errorf("told %d ns, the union is %d", told, want)
		}
	})
}

// story is what a kernel with some CPUs sends: intervals in the order of their
// ends, some a little late, looked at now and then.
func story(t *rapid.T) (batches [][]interval, now []uint64) {
	const step = stretch.MaxNanos / 20
	var all []interval
	for range rapid.IntRange(1, 4).Draw(t, "CPUs") {
		at := uint64(1)
		for range rapid.IntRange(1, 30).Draw(t, "intervals") {
			at += rapid.Uint64Range(1, 30).Draw(t, "gap") * step
			length := rapid.Uint64Range(1, 20).Draw(t, "length") * step
			all = append(all, interval{at, at + length})
			at += length
		}
	}
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.End, b.End) })
	look := rapid.Uint64Range(1, 60).Draw(t, "between looks") * step
	for at := look; len(all) > 0 || len(batches) < 3; at += look {
		var batch, late []interval
		for len(all) > 0 && all[0].End <= at {
			if rapid.IntRange(0, 4).Draw(t, "late") == 0 {
				late = append(late, all[0])
			} else {
				batch = append(batch, all[0])
			}
			all = all[1:]
		}
		batches, now = append(batches, batch), append(now, at)
		if late != nil {
			batches, now = append(batches, late), append(now, at+1)
		}
	}
	return batches, now
}

func TestMergerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batches, now := story(t)
		all := slices.Concat(batches...)
		held := func(at uint64) bool {
			return slices.ContainsFunc(all, func(in interval) bool { return in.Start <= at && at < in.End })
		}
		var m stretch.Merger
		var got []uint64
		tell := func(nanos uint64) { got = append(got, nanos) }
		for i, batch := range batches {
			for _, in := range batch {
				m.Add(in, tell)
				if !held(in.End) && rapid.Bool().Draw(t, "said") {
					m.Quiet(in.End)
				}
			}
			m.Settle(now[i], tell)
		}
		m.Finish(tell)
		slices.Sort(got)
		if diff := gocmp.Diff(union(all), got); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkMerger(b *testing.B) {
	var m stretch.Merger
	tell := func(uint64) {}
	at := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		at += 100
		for cpu := range uint64(4) {
			m.Add(interval{at + cpu, at + 60}, tell)
		}
		m.Quiet(at + 60)
		m.Settle(at+60, tell)
	}
}
