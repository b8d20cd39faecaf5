// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The durations, as they are kept in the state directory:
//
//	version, number of cells, series*: class, named, namespace, pod, container, histogram for each kind
//
// Numbers are unsigned varints, strings have their length in front.
const (
	heldVersion   = 1
	maxHeldString = 4096
)

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
		named := byte(0)
		if key.Named {
			named = 1
		}
		buf = append(buf, byte(key.QoS), named)
		for _, name := range []string{key.Namespace, key.Pod, key.Container} {
			buf = binary.AppendUvarint(buf, uint64(len(name)))
			buf = append(buf, name...)
		}
		for _, h := range t.held {
			buf = h.AppendState(buf)
		}
	}
	return buf
}

// LoadHeld returns what an earlier agent wrote to the durations' journal. One
// that counted in other cells has nothing that could go on. An error wraps
// ErrHeldState.
func LoadHeld(state []byte) (Held, error) {
	d := heldDecoder{rest: state}
	version, bounds := d.uvarint(), d.uvarint()
	if d.err == nil && version != heldVersion {
		return nil, fmt.Errorf("%w of this version: %d", ErrHeldState, version)
	}
	if bounds != uint64(len(snapshot.DurationBoundsNanos())) {
		return nil, d.err
	}
	held := Held{}
	for len(d.rest) > 0 {
		key := ledger.Key{Level: cgroupfs.LevelContainer, QoS: cgroupfs.QoS(d.uvarint()), Named: d.uvarint() != 0}
		key.Namespace, key.Pod, key.Container = d.string(), d.string(), d.string()
		var kinds [durations.NumKinds]*snapshot.Histogram
		for kind := range kinds {
			kinds[kind] = d.histogram()
		}
		held[key] = kinds
	}
	if d.err != nil {
		return nil, d.err
	}
	return held, nil
}

type heldDecoder struct {
	rest []byte
	err  error
}

func (d *heldDecoder) fail(err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %w", ErrHeldState, err)
	}
	d.rest = nil
}

func (d *heldDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail(errors.New("cut short in a number"))
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *heldDecoder) string() string {
	n := d.uvarint()
	if n > maxHeldString || n > uint64(len(d.rest)) {
		d.fail(fmt.Errorf("a string of %d bytes", n))
		return ""
	}
	text := string(d.rest[:n])
	d.rest = d.rest[n:]
	return text
}

func (d *heldDecoder) histogram() *snapshot.Histogram {
	h, rest, err := snapshot.HistogramOfState(d.rest)
	if err != nil {
		d.fail(err)
		return nil
	}
	d.rest = rest
	return h
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
