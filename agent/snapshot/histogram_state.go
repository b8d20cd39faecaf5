// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"errors"
)

// ErrHistogramState says that bytes are not what AppendState writes.
var ErrHistogramState = errors.New("not the state of a histogram")

// AppendState appends h to buf: the first cell, the number of cells, the count
// of each and the sum in ns, as unsigned varints. It means something only with
// the same DurationBoundsNanos.
func (h *Histogram) AppendState(buf []byte) []byte {
	if h == nil {
		h = &Histogram{}
	}
	buf = binary.AppendUvarint(buf, uint64(h.first))
	buf = binary.AppendUvarint(buf, uint64(len(h.counts)))
	for _, n := range h.counts {
		buf = binary.AppendUvarint(buf, n)
	}
	return binary.AppendUvarint(buf, h.nanos)
}

// HistogramOfState returns what AppendState wrote, nil for an empty one, and
// the bytes that follow.
func HistogramOfState(state []byte) (h *Histogram, rest []byte, err error) {
	rest = state
	next := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			err, rest = ErrHistogramState, nil
			return 0
		}
		rest = rest[n:]
		return v
	}
	first, length := next(), next()
	if all := uint64(len(cells) + 1); first > all || length > all-first {
		return nil, nil, ErrHistogramState
	}
	counts := make([]uint64, length)
	for i := range counts {
		counts[i] = next()
	}
	nanos := next()
	if err != nil || length == 0 {
		return nil, rest, err
	}
	return newHistogram(int(first), counts, nanos), rest, nil
}
