// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

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

// Bounds on what a state may claim, far above what a node can have.
const (
	maxStateString = 4096
	maxStateItems  = 1 << 20
)

// ErrState says that a state is not what AppendState writes.
var ErrState = errors.New("not a state of counters")

// AppendState appends the book's state to buf. bootID names the boot of the
// kernel whose cgroup ids the state holds.
func (b *Book) AppendState(buf []byte, bootID string) []byte {
	buf = appendString(buf, bootID)
	buf = binary.AppendUvarint(buf, uint64(len(counters)))
	for _, f := range counters {
		info := f.Info()
		buf = appendString(buf, info.File)
		buf = appendString(buf, info.Key)
	}
	buf = binary.AppendUvarint(buf, uint64(len(b.order)))
	for _, s := range b.order {
		buf = s.append(buf)
	}
	return buf
}

func (s *Series) append(buf []byte) []byte {
	named := byte(0)
	if s.key.Named {
		named = 1
	}
	buf = append(buf, byte(s.key.Level), byte(s.key.QoS), named)
	buf = appendString(buf, s.key.Namespace)
	buf = appendString(buf, s.key.Pod)
	buf = appendString(buf, s.key.Container)
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

func appendString(buf []byte, s string) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(s)))
	return append(buf, s...)
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
	d := decoder{rest: state}
	sameBoot := d.string() == bootID
	known := d.fields()
	loaded := NewBook(b.maxEnded)
	for n := d.count(); n > 0 && d.err == nil; n-- {
		d.series(loaded, known)
	}
	if d.err == nil && len(d.rest) != 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.rest)))
	}
	if d.err != nil {
		return d.err
	}
	if !sameBoot {
		loaded.CloseUnseen(now, func(uint64) bool { return false })
	}
	*b = *loaded
	return nil
}

type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrState, what)
	}
	d.rest = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("cut short in a number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) count() int {
	n := d.uvarint()
	if n > maxStateItems {
		d.fail(fmt.Sprintf("a list of %d items", n))
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.rest[0]
	d.rest = d.rest[1:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > maxStateString || n > uint64(len(d.rest)) {
		d.fail(fmt.Sprintf("a string of %d bytes", n))
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// fields returns for each field index of the state today's field, NumFields
// for one that this version does not know.
func (d *decoder) fields() []cgroupfs.Field {
	var known []cgroupfs.Field
	for n := d.count(); n > 0 && d.err == nil; n-- {
		file, key := d.string(), d.string()
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

func (d *decoder) counters(known []cgroupfs.Field) cgroupfs.Reading {
	var r cgroupfs.Reading
	for n := d.count(); n > 0 && d.err == nil; n-- {
		i, v := d.uvarint(), d.uvarint()
		if i >= uint64(len(known)) {
			d.fail(fmt.Sprintf("field %d of %d", i, len(known)))
			return r
		}
		if known[i] != cgroupfs.NumFields {
			r.Set(known[i], v)
		}
	}
	return r
}

func (d *decoder) series(b *Book, known []cgroupfs.Field) {
	key := Key{Level: cgroupfs.Level(d.byte()), QoS: cgroupfs.QoS(d.byte()), Named: d.byte() != 0}
	key.Namespace, key.Pod, key.Container = d.string(), d.string(), d.string()
	starts, ended := d.uvarint(), d.uvarint()
	base := d.counters(known)
	if d.err == nil && (key.Level < cgroupfs.LevelKubepods || key.Level > cgroupfs.LevelContainer || key.QoS >= cgroupfs.NumQoS) {
		d.fail(fmt.Sprintf("a series of level %d and class %d", key.Level, key.QoS))
	}
	if d.err == nil && b.series[key] != nil {
		d.fail(fmt.Sprintf("the series %v twice", key))
	}
	if d.err != nil {
		return
	}
	s := b.get(key)
	s.base, s.starts = base, starts
	for n := d.count(); n > 0 && d.err == nil; n-- {
		inc := &Incarnation{cgroup: d.uvarint(), series: s}
		inc.last = d.counters(known)
		at := placeOf(key, inc.cgroup)
		if b.live[at] != nil {
			d.fail(fmt.Sprintf("the cgroup %d twice", inc.cgroup))
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
