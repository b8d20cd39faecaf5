// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/slicewatch/slicewatch/agent/checkpoint/wire"
	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The durations, as they are kept in the state directory:
//
//	version, number of bounds, series*: class, named, namespace, pod, container, histogram for each kind
//	histogram: first cell, number of cells, the count of each, sum in ns
//
// Numbers are unsigned varints, strings have their length in front.
const heldVersion = 1

// ErrHeldState says that a state is not one of durations.
var ErrHeldState = errors.New("not a state of durations")

// Held are the durations of containers, by the series that they belong to.
type Held map[ledger.Key][durations.NumKinds]*snapshot.Histogram

// appendHeld appends the durations of every series that has any.
func (s *Sampler) appendHeld(buf []byte) []byte {
	buf = binary.AppendUvarint(buf, heldVersion)
	buf = binary.AppendUvarint(buf, uint64(len(snapshot.DurationBoundsNanos())))
	for _, series := range s.cfg.Book.Series() {
		t, key := s.tracks[series.Number()], series.Key()
		if t == nil || t.held == [durations.NumKinds]*snapshot.Histogram{} {
			continue
		}
		buf = append(buf, byte(key.QoS))
		buf = wire.AppendBool(buf, key.Named)
		for _, name := range []string{key.Namespace, key.Pod, key.Container} {
			buf = wire.AppendString(buf, name)
		}
		for _, h := range t.held {
			buf = appendHistogram(buf, h)
		}
	}
	return buf
}

// LoadHeld returns what an earlier agent wrote to the durations' journal. One
// that counted in other cells has nothing that could go on. An error wraps
// ErrHeldState.
func LoadHeld(state []byte) (Held, error) {
	d := wire.Decode(state, ErrHeldState)
	version, bounds := d.Uvarint(), d.Uvarint()
	if d.Err() == nil && version != heldVersion {
		d.Fail("of version %d, this one reads %d", version, heldVersion)
	}
	if d.Err() != nil || bounds != uint64(len(snapshot.DurationBoundsNanos())) {
		return nil, d.Err()
	}
	held := Held{}
	for d.More() {
		key := ledger.Key{Level: cgroupfs.LevelContainer, QoS: cgroupfs.QoS(d.Byte()), Named: d.Bool()}
		key.Namespace, key.Pod, key.Container = d.String(), d.String(), d.String()
		var kinds [durations.NumKinds]*snapshot.Histogram
		for kind := range kinds {
			kinds[kind] = decodeHistogram(d)
		}
		held[key] = kinds
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	return held, nil
}

func appendHistogram(buf []byte, h *snapshot.Histogram) []byte {
	first, counts, nanos := h.Cells()
	buf = binary.AppendUvarint(buf, uint64(first))
	buf = binary.AppendUvarint(buf, uint64(len(counts)))
	for _, n := range counts {
		buf = binary.AppendUvarint(buf, n)
	}
	return binary.AppendUvarint(buf, nanos)
}

// decodeHistogram returns nil for an empty one.
func decodeHistogram(d *wire.Decoder) *snapshot.Histogram {
	first, length := d.Uvarint(), d.Uvarint()
	cells := make([]uint64, len(snapshot.DurationBoundsNanos())+1)
	if all := uint64(len(cells)); first > all || length > all-first {
		d.Fail("a histogram of %d cells from the %dth", length, first)
		return nil
	}
	for i := range length {
		cells[first+i] = d.Uvarint()
	}
	var none *snapshot.Histogram
	return none.Plus(cells, d.Uvarint())
}

// newTrack returns a track for a series, with what an earlier agent knew of how
// long it was held.
func (s *Sampler) newTrack(series *ledger.Series) *track {
	t := &track{held: s.cfg.Held[series.Key()]}
	delete(s.cfg.Held, series.Key())
	s.tracks[series.Number()] = t
	return t
}

// saveHeld writes the durations when there are new ones.
func (s *Sampler) saveHeld() error {
	if s.cfg.HeldJournal == nil || !s.holds.changed {
		return nil
	}
	if err := s.cfg.HeldJournal.Write(s.appendHeld); err != nil {
		return fmt.Errorf("write how long containers were held: %w", err)
	}
	s.holds.changed = false
	return nil
}
