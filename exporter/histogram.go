// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"

	dto "github.com/prometheus/client_model/go"
)

// longestGap is how many empty native buckets are written as such before a new
// span, which takes more bytes, begins; client_golang does the same.
const longestGap = 2

// shownHistogram is a histogram in both kinds of buckets, as it was last
// written. The format of the answer says which of them leave.
type shownHistogram struct {
	of  *snapshot.Histogram
	dto dto.Histogram
}

// newHistogram returns one with the buckets that stay the same.
func newHistogram() *shownHistogram {
	h := &shownHistogram{}
	h.dto.SampleCount, h.dto.SampleSum = new(uint64), new(float64)
	h.dto.Schema, h.dto.ZeroThreshold = new(int32(snapshot.NativeSchema)), new(snapshot.NativeZeroThreshold())
	h.dto.ZeroCount = new(uint64)
	for _, bound := range snapshot.ClassicBoundsSeconds() {
		h.dto.Bucket = append(h.dto.Bucket, &dto.Bucket{UpperBound: new(bound), CumulativeCount: new(uint64)})
	}
	return h
}

// show writes from, unless it is what was written last.
func (h *shownHistogram) show(from *snapshot.Histogram) {
	if h.of == from {
		return
	}
	h.of = from
	*h.dto.SampleCount, *h.dto.SampleSum = from.Count(), float64(from.SumNanos())/nanosPerSecond
	i := 0
	from.Classic(func(_ float64, cumulative uint64) {
		*h.dto.Bucket[i].CumulativeCount = cumulative
		i++
	})
	h.showNative(from)
}

const nanosPerSecond = 1e9

func (h *shownHistogram) showNative(from *snapshot.Histogram) {
	spans, deltas := h.dto.PositiveSpan[:0], h.dto.PositiveDelta[:0]
	next, last, empty := 0, int64(0), 0
	put := func(count int64) {
		*spans[len(spans)-1].Length++
		deltas = append(deltas, count-last)
		last = count
	}
	*h.dto.ZeroCount = from.Native(func(index int, count uint64) {
		switch {
		case count == 0:
			empty++
			return
		case len(spans) == 0 || empty > longestGap:
			spans = append(spans, &dto.BucketSpan{Offset: new(int32(index - next)), Length: new(uint32)})
		default:
			for range empty {
				put(0)
			}
		}
		empty = 0
		put(int64(count))
		next = index + 1
	})
	h.dto.PositiveSpan, h.dto.PositiveDelta = spans, deltas
}
