// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errKind = errors.New("not a state of tests")

type state struct {
	Names  []string
	Number uint64
	Signed int64
	Flag   bool
}

func write(s state) []byte {
	buf := binary.AppendUvarint(nil, uint64(len(s.Names)))
	for _, name := range s.Names {
		buf = AppendString(buf, name)
	}
	buf = binary.AppendUvarint(buf, s.Number)
	buf = binary.AppendVarint(buf, s.Signed)
	return AppendBool(buf, s.Flag)
}

func read(b []byte) (s state, err error) {
	d := Decode(b, errKind)
	for range d.Items() {
		s.Names = append(s.Names, d.String())
	}
	s.Number, s.Signed, s.Flag = d.Uvarint(), d.Varint(), d.Bool()
	return s, d.End()
}

func TestDecode(t *testing.T) {
	want := state{Names: []string{"a", "", "b\x00c"}, Number: 1 << 63, Signed: -5, Flag: true}
	whole := write(want)
	got, err := read(whole)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	for n := range whole {
		if _, err := read(whole[:n]); !errors.Is(err, errKind) {
			t.Errorf("the first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
	for name, b := range map[string][]byte{
		"1 bytes too many":       append(whole, 0),
		"a string of 5000 bytes": binary.AppendUvarint([]byte{1}, 5000),
		"a list of 9999999 item": binary.AppendUvarint(nil, 9999999),
	} {
		if _, err := read(b); !errors.Is(err, errKind) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one of %s", err, name)
		}
	}
}

// The first failure is what is told, and nothing is made up after it.
func TestFail(t *testing.T) {
	d := Decode([]byte{1, 2, 3}, errKind)
	d.Fail("first %d", 1)
	d.Fail("second")
	if d.Byte() != 0 || d.Uvarint() != 0 || d.Varint() != 0 || d.String() != "" || d.More() {
		t.Error("something was read after a failure")
	}
	if got, want := d.End().Error(), "not a state of tests: first 1"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestAppendStringCuts(t *testing.T) {
	d := Decode(AppendString(nil, strings.Repeat("x", maxString+1)), errKind)
	if s := d.String(); len(s) != maxString || d.End() != nil {
		t.Errorf("%d bytes, %v", len(s), d.Err())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(write(state{Names: []string{"a"}, Number: 7, Signed: -7, Flag: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := read(b)
		if err != nil {
			return
		}
		again, err := read(write(s))
		if diff := cmp.Diff(s, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
