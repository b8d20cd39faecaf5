// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// of returns a histogram of durations in ns, made in several steps.
func of(nanos ...uint64) *snapshot.Histogram {
	bounds := snapshot.DurationBoundsNanos()
	var h *snapshot.Histogram
	for part := range slices.Chunk(nanos, 3) {
		cells := make([]uint64, len(bounds)+1)
		sum := uint64(0)
		for _, n := range part {
			i, _ := slices.BinarySearch(bounds, n)
			cells[i]++
			sum += n
		}
		h = h.Plus(cells, sum)
	}
	return h
}

// reference returns what client_golang makes of the same durations.
func reference(t require, nanos []uint64) *dto.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Help: "For comparison.", Buckets: snapshot.ClassicBoundsSeconds(),
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: snapshot.NativeZeroThreshold(),
	})
	for _, n := range nanos {
		h.Observe(float64(n) / 1e9)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram()
}

type require interface{ Fatal(args ...any) }

// buckets returns the native buckets that are not empty.
func buckets(h *dto.Histogram) map[int]uint64 {
	found := map[int]uint64{}
	index, count, delta := 0, int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		index += int(span.GetOffset())
		for range span.GetLength() {
			count += h.GetPositiveDelta()[delta]
			if count > 0 {
				found[index] = uint64(count)
			}
			index++
			delta++
		}
	}
	return found
}

func TestBucketsAreThoseOfPrometheus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := snapshot.DurationBoundsNanos()
		nanos := rapid.SliceOfN(rapid.OneOf(
			rapid.Uint64Range(1, uint64(1000e9)),
			rapid.Uint64Range(900, uint64(1e9)),
			rapid.SampledFrom(bounds),
			rapid.Custom(func(t *rapid.T) uint64 { return rapid.SampledFrom(bounds[:len(bounds)-1]).Draw(t, "bound") + 1 }),
		), 1, 20).Draw(t, "ns")
		got, want := of(nanos...), reference(t, nanos)
		if got.Count() != want.GetSampleCount() || math.Abs(float64(got.SumNanos())/1e9-want.GetSampleSum()) > 1e-6 {
			t.Errorf("count %d, sum %d ns; want %d, %g s", got.Count(), got.SumNanos(), want.GetSampleCount(), want.GetSampleSum())
		}
		var classic, wantClassic []uint64
		got.Classic(func(_ float64, cumulative uint64) { classic = append(classic, cumulative) })
		for _, b := range want.GetBucket() {
			wantClassic = append(wantClassic, b.GetCumulativeCount())
		}
		if diff := cmp.Diff(wantClassic, classic); diff != "" {
			t.Errorf("classic (-want +got):\n%s", diff)
		}
		native := map[int]uint64{}
		zero := got.Native(func(index int, count uint64) {
			if count > 0 {
				native[index] = count
			}
		})
		if want.GetSchema() != snapshot.NativeSchema || zero != want.GetZeroCount() {
			t.Errorf("schema %d, zero bucket %d; want %d", want.GetSchema(), zero, want.GetZeroCount())
		}
		if diff := cmp.Diff(buckets(want), native); diff != "" {
			t.Errorf("native (-want +got):\n%s", diff)
		}
	})
}

func TestHistogramsDoNotChange(t *testing.T) {
	a, b := of(5e6, 7e6), of(1e6, 90e9)
	sum := a.Merge(b)
	if a.Count() != 2 || b.Count() != 2 || sum.Count() != 4 || sum.SumNanos() != 90_013_000_000 {
		t.Errorf("%d and %d make %d of %d ns", a.Count(), b.Count(), sum.Count(), sum.SumNanos())
	}
	if a.Merge(nil) != a || (*snapshot.Histogram)(nil).Merge(a) != a || of() != nil {
		t.Error("nothing is more than nothing")
	}
}

// What is longer than all bounds is in the last native bucket, and in no
// classic one but the infinite.
func TestLongestDurations(t *testing.T) {
	h := of(5000e9)
	h.Classic(func(bound float64, cumulative uint64) {
		if cumulative != 0 {
			t.Errorf("5000 s are not longer than %g s", bound)
		}
	})
	indexes := 0
	h.Native(func(index int, count uint64) {
		indexes++
		if index != 81 || count != 1 {
			t.Errorf("bucket %d: %d", index, count)
		}
	})
	if indexes != 1 {
		t.Errorf("%d buckets", indexes)
	}
}

func TestCellsFitTheProgram(t *testing.T) {
	if n := len(snapshot.DurationBoundsNanos()); n > 255 {
		t.Errorf("%d bounds of cells; the eBPF program has 255", n)
	}
}

func TestCells(t *testing.T) {
	for name, h := range map[string]*snapshot.Histogram{"none": nil, "one": of(5e6), "some": of(1, 5e6, 900e9, 5000e9)} {
		first, counts, nanos := h.Cells()
		all := make([]uint64, len(snapshot.DurationBoundsNanos())+1)
		copy(all[first:], counts)
		var none *snapshot.Histogram
		if diff := cmp.Diff(h, none.Plus(all, nanos), cmp.AllowUnexported(snapshot.Histogram{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
