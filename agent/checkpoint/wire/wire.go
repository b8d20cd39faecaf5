// SPDX-License-Identifier: Apache-2.0

// Package wire is the notation of what the agent keeps in its state directory:
// numbers as varints, strings and lists with their length in front. It must not
// know what is kept, where, or what becomes of a state that cannot be read.
package wire

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Bounds on what a state may claim, far above what a node can have.
const (
	maxString = 4096
	maxItems  = 1 << 20
)

// AppendString appends s, cut at 4096 bytes, with its length in front.
func AppendString(buf []byte, s string) []byte {
	s = s[:min(len(s), maxString)]
	buf = binary.AppendUvarint(buf, uint64(len(s)))
	return append(buf, s...)
}

// AppendBool appends one byte, 0 or 1.
func AppendBool(buf []byte, b bool) []byte {
	if b {
		return append(buf, 1)
	}
	return append(buf, 0)
}

// Decoder reads a state from its beginning. After its first failure all that it
// returns is zero, so that a reader asks for the error once, at the end.
type Decoder struct {
	rest []byte
	kind error
	err  error
}

// Decode returns a decoder of state. Its errors wrap kind, which says what the
// state should have been.
func Decode(state []byte, kind error) *Decoder {
	return &Decoder{rest: state, kind: kind}
}

// Err returns the first failure.
func (d *Decoder) Err() error { return d.err }

// Fail makes the state a wrong one, unless it was already.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", d.kind, fmt.Sprintf(format, args...))
	}
	d.rest = nil
}

// More says whether anything follows.
func (d *Decoder) More() bool { return len(d.rest) > 0 }

// End returns the first failure, which may be that something follows.
func (d *Decoder) End() error {
	if d.More() {
		d.Fail("%d bytes too many", len(d.rest))
	}
	return d.err
}

// Byte reads one byte.
func (d *Decoder) Byte() byte {
	if !d.More() {
		d.Fail("cut short")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// Bool reads what [AppendBool] wrote.
func (d *Decoder) Bool() bool { return d.Byte() != 0 }

// Uvarint reads an unsigned number.
func (d *Decoder) Uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.skipNumber(n)
	return v
}

// Varint reads a signed number.
func (d *Decoder) Varint() int64 {
	v, n := binary.Varint(d.rest)
	d.skipNumber(n)
	return v
}

func (d *Decoder) skipNumber(n int) {
	if n <= 0 {
		d.Fail("cut short in a number")
		return
	}
	d.rest = d.rest[n:]
}

// String reads what [AppendString] wrote.
func (d *Decoder) String() string {
	n := d.Uvarint()
	if n > maxString || n > uint64(len(d.rest)) {
		d.Fail("a string of %d bytes", n)
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// Items reads a list's length and yields once for each item, until there is a
// failure.
func (d *Decoder) Items() iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		n := d.Uvarint()
		if n > maxItems {
			d.Fail("a list of %d items", n)
		}
		for ; n > 0 && d.err == nil; n-- {
			if !yield(struct{}{}) {
				return
			}
		}
	}
}
