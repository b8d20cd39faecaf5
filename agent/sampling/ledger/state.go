// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/slicewatch/slicewatch/agent/checkpoint/wire"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The state of a book, as it is kept in the state directory:
//
//	boot id, then the names of the counter fields that follow are in the order of
//	series*: key, starts, end, base counters, incarnation*: cgroup id, last counters
//
// Numbers are unsigned varints, strings and lists have their length in front.
// A set of counters is a list of (field index, value). Fields go by name, so
// that a state outlives a change of their order, and one that this version does
// not know is left out.

// ErrState says that a state is not what AppendState writes.
var ErrState = errors.New("not a state of counters")

// AppendState appends the book's state to buf. bootID names the boot of the
// kernel whose cgroup ids the state holds.
func (b *Book) AppendState(buf []byte, bootID string) []byte {
	buf = wire.AppendString(buf, bootID)
	buf = binary.AppendUvarint(buf, uint64(len(counters)))
	for _, f := range counters {
		info := f.Info()
		buf = wire.AppendString(buf, info.File)
		buf = wire.AppendString(buf, info.Key)
	}
	buf = binary.AppendUvarint(buf, uint64(len(b.order)))
	for _, s := range b.order {
		buf = s.append(buf)
	}
	return buf
}

func (s *Series) append(buf []byte) []byte {
	buf = append(buf, byte(s.key.Level), byte(s.key.QoS))
	buf = wire.AppendBool(buf, s.key.Named)
	buf = wire.AppendString(buf, s.key.Namespace)
	buf = wire.AppendString(buf, s.key.Pod)
	buf = wire.AppendString(buf, s.key.Container)
	buf = binary.AppendUvarint(buf, s.starts)
	ended := uint64(0)
	if !s.ended.IsZero() {
		ended = uint64(s.ended.UnixMilli())
	}
	buf = binary.AppendUvarint(buf, ended)
	buf = appendCounters(buf, &s.base)
	buf = binary.AppendUvarint(buf, uint64(len(s.live)))
	for _, inc := range s.live {
		buf = binary.AppendUvarint(buf, inc.cgroup)
		buf = appendCounters(buf, &inc.last)
	}
	return buf
}

func appendCounters(buf []byte, r *cgroupfs.Reading) []byte {
	buf = binary.AppendUvarint(buf, uint64(r.Len()))
	for i, f := range counters {
		if v, ok := r.Get(f); ok {
			buf = binary.AppendUvarint(buf, uint64(i))
			buf = binary.AppendUvarint(buf, v)
		}
	}
	return buf
}

// Load fills an empty book from a state. Incarnations of another boot than
// bootID are ended: cgroup ids start anew with the kernel. On an error, which
// wraps ErrState, the book stays empty.
func (b *Book) Load(state []byte, bootID string, now time.Time) error {
	d := decoder{wire.Decode(state, ErrState)}
	sameBoot := d.String() == bootID
	known := d.fields()
	loaded := NewBook(b.maxEnded)
	for range d.Items() {
		d.series(loaded, known)
	}
	if err := d.End(); err != nil {
		return err
	}
	if !sameBoot {
		loaded.CloseUnseen(now, func(uint64) bool { return false }, nil)
	}
	*b = *loaded
	return nil
}

type decoder struct{ *wire.Decoder }

// fields returns for each field index of the state today's field, NumFields
// for one that this version does not know.
func (d decoder) fields() []cgroupfs.Field {
	var known []cgroupfs.Field
	for range d.Items() {
		file, key := d.String(), d.String()
		field := cgroupfs.NumFields
		for _, f := range counters {
			if info := f.Info(); info.File == file && info.Key == key {
				field = f
			}
		}
		known = append(known, field)
	}
	return known
}

func (d decoder) counters(known []cgroupfs.Field) cgroupfs.Reading {
	var r cgroupfs.Reading
	for range d.Items() {
		i, v := d.Uvarint(), d.Uvarint()
		if i >= uint64(len(known)) {
			d.Fail("field %d of %d", i, len(known))
			return r
		}
		if known[i] != cgroupfs.NumFields {
			r.Set(known[i], v)
		}
	}
	return r
}

func (d decoder) series(b *Book, known []cgroupfs.Field) {
	key := Key{Level: cgroupfs.Level(d.Byte()), QoS: cgroupfs.QoS(d.Byte()), Named: d.Bool()}
	key.Namespace, key.Pod, key.Container = d.String(), d.String(), d.String()
	starts, ended := d.Uvarint(), d.Uvarint()
	base := d.counters(known)
	if d.Err() == nil && (key.Level < cgroupfs.LevelKubepods || key.Level > cgroupfs.LevelContainer || key.QoS >= cgroupfs.NumQoS) {
		d.Fail("a series of level %d and class %d", key.Level, key.QoS)
	}
	if d.Err() == nil && b.series[key] != nil {
		d.Fail("the series %v twice", key)
	}
	if d.Err() != nil {
		return
	}
	s := b.get(key)
	s.base, s.starts = base, starts
	for range d.Items() {
		inc := &Incarnation{cgroup: d.Uvarint(), series: s}
		inc.last = d.counters(known)
		at := placeOf(key, inc.cgroup)
		if b.live[at] != nil {
			d.Fail("the cgroup %d twice", inc.cgroup)
			return
		}
		s.live = append(s.live, inc)
		b.live[at] = inc
	}
	if len(s.live) == 0 {
		s.ended = time.UnixMilli(int64(ended))
		b.endedCount++
	}
	s.retotal()
}
