// SPDX-License-Identifier: Apache-2.0

package lives

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/slicewatch/slicewatch/agent/checkpoint/wire"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The lives, as they are kept in the state directory, oldest first:
//
//	version, boot id, life*: namespace, pod, container, pod's UID, container's id, end, class, cgroup id,
//	started, ended, added (ms since 1970, 0 for unknown), CPU, throttled, peak, limit (each one more, 0 for unknown)
//
// Numbers are unsigned varints, strings and lists have their length in front.
const stateVersion = 1

// ErrState says that a state is not what AppendState writes.
var ErrState = errors.New("not a state of lives")

// Changed says whether there is something that the state written last does not
// have.
func (b *Book) Changed() bool { return b.changed }

// Saved says that the state is where it is kept.
func (b *Book) Saved() { b.changed = false }

// AppendState appends the book's state to buf.
func (b *Book) AppendState(buf []byte) []byte {
	buf = append(buf, stateVersion)
	buf = wire.AppendString(buf, b.bootID)
	buf = binary.AppendUvarint(buf, uint64(b.kept))
	for _, e := range b.order {
		if !e.gone {
			buf = e.append(buf)
		}
	}
	return buf
}

func (e *entry) append(buf []byte) []byte {
	l := e.life
	for _, s := range []string{l.Namespace, l.Pod, l.Container, l.PodUID, l.ContainerID, string(l.End)} {
		buf = wire.AppendString(buf, s)
	}
	buf = append(buf, byte(l.QoS))
	buf = binary.AppendUvarint(buf, l.CgroupID)
	for _, at := range []time.Time{l.Started, l.Ended, e.noted} {
		ms := uint64(0)
		if !at.IsZero() {
			ms = uint64(at.UnixMilli())
		}
		buf = binary.AppendUvarint(buf, ms)
	}
	for _, a := range []snapshot.Amount{l.CPUMicros, l.ThrottledMicros, l.MemoryPeakBytes, l.MemoryLimitBytes} {
		more := uint64(0)
		if a.Known {
			more = uint64(a.N) + 1
		}
		buf = binary.AppendUvarint(buf, more)
	}
	return buf
}

// Load fills an empty book from a state. On an error, which wraps ErrState, the
// book stays empty.
func (b *Book) Load(state []byte) error {
	d := decoder{wire.Decode(state, ErrState)}
	if version := d.Byte(); d.Err() == nil && version != stateVersion {
		d.Fail("of version %d, this one reads %d", version, stateVersion)
	}
	sameBoot := d.String() == b.bootID
	loaded := New(b.bootID)
	for range d.Items() {
		e := d.entry()
		if d.Err() != nil {
			break
		}
		if sameBoot { // cgroup ids start anew with the kernel
			loaded.byCgroup[e.life.CgroupID] = e
		}
		loaded.put(e)
	}
	if err := d.End(); err != nil {
		return err
	}
	loaded.changed = false
	*b = *loaded
	return nil
}

type decoder struct{ *wire.Decoder }

func (d decoder) entry() *entry {
	var l snapshot.Life
	for _, s := range []*string{&l.Namespace, &l.Pod, &l.Container, &l.PodUID, &l.ContainerID} {
		*s = d.String()
	}
	l.End = snapshot.LifeEnd(d.String())
	if l.QoS = cgroupfs.QoS(d.Byte()); l.QoS >= cgroupfs.NumQoS {
		d.Fail("a life of class %d", l.QoS)
	}
	l.CgroupID = d.Uvarint()
	e := &entry{life: &l}
	for _, at := range []*time.Time{&l.Started, &l.Ended, &e.noted} {
		if ms := d.Uvarint(); ms != 0 {
			*at = time.UnixMilli(int64(ms)).UTC()
		}
	}
	for _, a := range []*snapshot.Amount{&l.CPUMicros, &l.ThrottledMicros, &l.MemoryPeakBytes, &l.MemoryLimitBytes} {
		if more := d.Uvarint(); more != 0 {
			*a = snapshot.Amount{N: int64(more - 1), Known: true}
		}
	}
	return e
}
