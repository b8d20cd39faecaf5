// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"math"
	"slices"
)

// A Histogram counts durations in cells that are fine enough for both kinds of
// buckets that Prometheus knows: every bound of a classic or of a native bucket
// is the bound of a cell, so that both are exact.
const (
	// NativeSchema is the native histograms' resolution: each bound is
	// 2^(2^-NativeSchema), some 9 %, above the one before.
	NativeSchema = 3
	// Durations up to 2^zeroExponent seconds, some us, count as zero; beyond
	// 2^lastExponent seconds, 17 minutes, they all count alike.
	zeroExponent, lastExponent = -20, 10

	nativePerDouble = 1 << NativeSchema
	zeroIndex       = zeroExponent * nativePerDouble
	lastIndex       = lastExponent * nativePerDouble
)

// classicSeconds are the bounds of the classic buckets.
var classicSeconds = []float64{.0001, .001, .005, .01, .025, .05, .1, .25, 1, 5}

// cells are the bounds of all cells but the last, which has none.
var cells = makeCells()

type cell struct {
	boundNanos uint64
	native     int // index of the native bucket, zeroIndex for the zero bucket
}

func makeCells() []cell {
	var made []cell
	for i := zeroIndex; i <= lastIndex; i++ {
		made = append(made, cell{uint64(math.Exp2(float64(i)/nativePerDouble) * 1e9), i})
	}
	for _, seconds := range classicSeconds {
		bound := uint64(math.Round(seconds * 1e9))
		at := slices.IndexFunc(made, func(c cell) bool { return c.boundNanos >= bound })
		if made[at].boundNanos > bound {
			made = slices.Insert(made, at, cell{bound, made[at].native})
		}
	}
	return made
}

// DurationBoundsNanos returns the longest duration, in ns, that each cell
// counts, ascending. What is longer than the last counts in one cell more.
func DurationBoundsNanos() []uint64 {
	bounds := make([]uint64, len(cells))
	for i, c := range cells {
		bounds[i] = c.boundNanos
	}
	return bounds
}

// ClassicBoundsSeconds returns the bounds of the classic buckets, ascending and
// without the infinite one.
func ClassicBoundsSeconds() []float64 { return slices.Clone(classicSeconds) }

// NativeZeroThreshold is the longest duration, in seconds, that the native
// zero bucket counts.
func NativeZeroThreshold() float64 { return math.Exp2(zeroExponent) }

// Histogram is how long durations were. It does not change; nil is an empty
// one.
type Histogram struct {
	// counts are those of the cells from first on; all others are 0.
	first  int
	counts []uint64
	count  uint64
	nanos  uint64
}

// Plus returns h with more durations: so many in each cell, and their sum in
// ns. add has a count for each of DurationBoundsNanos and one more.
func (h *Histogram) Plus(add []uint64, nanos uint64) *Histogram {
	first := slices.IndexFunc(add, func(n uint64) bool { return n != 0 })
	if first < 0 {
		return h
	}
	last := len(add) - 1
	for add[last] == 0 {
		last--
	}
	return h.Merge(newHistogram(first, slices.Clone(add[first:last+1]), nanos))
}

// Cells returns the counts of the cells from first on, which must not be
// changed, those of all others being 0, and the durations' sum in ns.
func (h *Histogram) Cells() (first int, counts []uint64, nanos uint64) {
	if h == nil {
		return 0, nil, 0
	}
	return h.first, h.counts, h.nanos
}

func newHistogram(first int, counts []uint64, nanos uint64) *Histogram {
	h := &Histogram{first: first, counts: counts, nanos: nanos}
	for _, n := range counts {
		h.count += n
	}
	return h
}

// Merge returns the durations of both.
func (h *Histogram) Merge(other *Histogram) *Histogram {
	switch {
	case other == nil:
		return h
	case h == nil:
		return other
	}
	first := min(h.first, other.first)
	end := max(h.first+len(h.counts), other.first+len(other.counts))
	counts := make([]uint64, end-first)
	for _, from := range []*Histogram{h, other} {
		for i, n := range from.counts {
			counts[from.first-first+i] += n
		}
	}
	return newHistogram(first, counts, h.nanos+other.nanos)
}

// Count returns how many durations there are.
func (h *Histogram) Count() uint64 {
	if h == nil {
		return 0
	}
	return h.count
}

// SumNanos returns the sum of the durations in ns.
func (h *Histogram) SumNanos() uint64 {
	if h == nil {
		return 0
	}
	return h.nanos
}

// Classic calls each with the classic bounds, in seconds and ascending, and
// how many durations are not longer.
func (h *Histogram) Classic(each func(bound float64, cumulative uint64)) {
	var cumulative uint64
	i := 0
	for _, bound := range classicSeconds {
		nanos := uint64(math.Round(bound * 1e9))
		for ; i < len(h.counts) && h.first+i < len(cells) && cells[h.first+i].boundNanos <= nanos; i++ {
			cumulative += h.counts[i]
		}
		each(bound, cumulative)
	}
}

// Native returns how many durations the native zero bucket counts, and calls
// each with the native buckets from the first that counts any to the last that
// does, empty ones in between included: bucket i counts what is longer than
// 2^((i-1)/8) s and not longer than 2^(i/8) s, where 8 is 2^NativeSchema.
func (h *Histogram) Native(each func(index int, count uint64)) (zero uint64) {
	index, count := 0, uint64(0)
	open := false
	for i, n := range h.counts {
		at := lastIndex + 1
		if c := h.first + i; c < len(cells) {
			at = cells[c].native
		}
		if at == zeroIndex {
			zero += n
			continue
		}
		if open && at != index {
			each(index, count)
			count = 0
		}
		index, open = at, true
		count += n
	}
	if open {
		each(index, count)
	}
	return zero
}
