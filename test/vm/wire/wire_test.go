// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFramesComeBack(t *testing.T) {
	var conn bytes.Buffer
	request := Request{Op: OpExec, Path: "/bin/agent", Args: []string{"-x", ""}, Env: []string{"A=b"}, Merge: true}
	if err := WriteJSON(&conn, KindRequest, request); err != nil {
		t.Fatal(err)
	}
	if err := WriteNumber(&conn, KindStarted, 4711); err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("0123456"), MaxPayload/3)
	if n, err := (FrameWriter{W: &conn, Kind: KindStdout}).Write(long); n != len(long) || err != nil {
		t.Fatalf("wrote %d of %d bytes, error %v", n, len(long), err)
	}
	buf := make([]byte, MaxPayload)
	kind, payload, err := ReadFrame(&conn, buf)
	if err != nil || kind != KindRequest {
		t.Fatalf("kind %q, error %v", kind, err)
	}
	var got Request
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if kind, payload, err = ReadFrame(&conn, buf); err != nil || kind != KindStarted {
		t.Fatalf("kind %q, error %v", kind, err)
	}
	if pid, err := Number(payload); pid != 4711 || err != nil {
		t.Errorf("number %d, error %v", pid, err)
	}
	var out []byte
	for {
		kind, payload, err := ReadFrame(&conn, buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || kind != KindStdout {
			t.Fatalf("kind %q, error %v", kind, err)
		}
		out = append(out, payload...)
	}
	if !bytes.Equal(out, long) {
		t.Errorf("%d bytes came back, %d went", len(out), len(long))
	}
}

func TestReadFrameRefuses(t *testing.T) {
	tests := map[string]struct {
		input string
		want  error
	}{
		"nothing":          {"", io.EOF},
		"half a header":    {"o\x00", io.ErrUnexpectedEOF},
		"half a payload":   {"o\x00\x00\x00\x04ab", io.ErrUnexpectedEOF},
		"no payload":       {"o\x00\x00\x00\x04", io.ErrUnexpectedEOF},
		"longer than able": {"o\xff\xff\xff\xff", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := ReadFrame(bytes.NewReader([]byte(test.input)), make([]byte, MaxPayload))
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if errors.Is(test.want, io.ErrUnexpectedEOF) && errors.Is(err, io.EOF) {
				t.Errorf("error %v looks like an orderly end", err)
			}
		})
	}
	if err := WriteFrame(io.Discard, KindData, make([]byte, MaxPayload+1)); err == nil {
		t.Error("a frame over the limit was written")
	}
	if _, err := Number([]byte("123")); err == nil {
		t.Error("a number of 3 bytes was read")
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x02ab"))
	f.Add([]byte("x\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, input []byte) {
		kind, payload, err := ReadFrame(bytes.NewReader(input), make([]byte, MaxPayload))
		if err != nil {
			return
		}
		var back bytes.Buffer
		if err := WriteFrame(&back, kind, payload); err != nil || !bytes.HasPrefix(input, back.Bytes()) {
			t.Errorf("%q was read as %q %q", input, kind, payload)
		}
	})
}
