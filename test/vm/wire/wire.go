// SPDX-License-Identifier: Apache-2.0

// Package wire is what the host and the init program of a test machine say to
// each other. It owns the shapes on the connection and nothing else: it must
// not know how a machine is started or what a command does.
//
// The host opens one TCP connection for each thing it wants. It sends one
// Request as a frame, and then:
//
//	OpExec   guest: Started, Stdout..., Stderr..., Exited    host: Signal...
//	OpWrite  host: Data..., End                              guest: Exited
//	OpRead   guest: Data..., Exited
//	OpHalt   guest: Exited, then the machine powers off
//
// A connection that the host closes early ends what was asked for: a running
// command and its process group are killed.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// Port is where the guest listens, on its only network card.
	Port = 10779
	// ReadyLine is what the guest prints on its console once it listens.
	ReadyLine = "slicewatch-vm: ready"
	// FailedPrefix starts the console line that says why the guest gave up.
	FailedPrefix = "slicewatch-vm: failed: "
	// SettingsPath is where the guest finds its Settings, as JSON.
	SettingsPath = "/etc/slicewatch-vm.json"
	// MarkerEnv is set to 1 for every command in a test machine, so that a
	// test can tell that it runs in one.
	MarkerEnv = "IN_TEST_MACHINE"
)

// MaxPayload bounds one frame, in bytes.
const MaxPayload = 64 << 10

// Settings is what the guest needs to know before it can be reached.
type Settings struct {
	// Modules are paths of kernel modules, in the order of loading.
	Modules []string
	// SwapDevice is a block device to swap on, or empty.
	SwapDevice string
}

// Op is what a connection is for.
type Op string

// The operations.
const (
	OpExec  Op = "exec"
	OpWrite Op = "write"
	OpRead  Op = "read"
	OpHalt  Op = "halt"
)

// Request opens a connection.
type Request struct {
	Op   Op
	Path string
	// Args are the arguments after the program's name (OpExec).
	Args []string `json:",omitempty"`
	// Env is added to the guest's own environment, as KEY=value (OpExec).
	Env []string `json:",omitempty"`
	// Dir is the working directory (OpExec).
	Dir string `json:",omitempty"`
	// Cgroup is the directory of a cgroup to start the command in; it is made
	// if it does not exist (OpExec).
	Cgroup string `json:",omitempty"`
	// Merge sends stderr through the pipe of stdout, so that their order is kept
	// (OpExec).
	Merge bool `json:",omitempty"`
	// Mode is the permission bits of the file (OpWrite).
	Mode uint32 `json:",omitempty"`
}

// Exit is how an operation ended.
type Exit struct {
	// Code is the exit status; 128 + Signal if a signal ended the command.
	Code int
	// Signal is the signal that ended the command, or 0.
	Signal int `json:",omitempty"`
	// Error says why the operation could not be done at all.
	Error string `json:",omitempty"`
}

// Kind tells what a frame carries.
type Kind byte

// The kinds of frame.
const (
	KindRequest Kind = 'r' // Request, JSON
	KindStarted Kind = 'p' // process id, 4 bytes
	KindStdout  Kind = 'o'
	KindStderr  Kind = 'e'
	KindSignal  Kind = 's' // signal number, 4 bytes
	KindData    Kind = 'd'
	KindEnd     Kind = 'z' // no payload
	KindExited  Kind = 'x' // Exit, JSON
)

// WriteFrame sends one frame in one write, so that several goroutines may
// share a connection behind a lock. A payload over MaxPayload is an error.
func WriteFrame(w io.Writer, kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("write frame %q: %d bytes are more than the %d that one may carry", kind, len(payload), MaxPayload)
	}
	frame := make([]byte, 5+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	copy(frame[5:], payload)
	if _, err := w.Write(frame); err != nil {
		return fmt.Errorf("write frame %q: %w", kind, err)
	}
	return nil
}

// WriteJSON sends v as one frame.
func WriteJSON(w io.Writer, kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write frame %q: %w", kind, err)
	}
	return WriteFrame(w, kind, payload)
}

// WriteNumber sends n as one frame (KindStarted, KindSignal).
func WriteNumber(w io.Writer, kind Kind, n int) error {
	return WriteFrame(w, kind, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// Number is the payload of KindStarted and KindSignal.
func Number(payload []byte) (int, error) {
	if len(payload) != 4 {
		return 0, fmt.Errorf("a number is 4 bytes, not %d", len(payload))
	}
	return int(binary.BigEndian.Uint32(payload)), nil
}

// ReadFrame reads one frame. buf must have MaxPayload bytes; the payload is
// part of it. A connection that ends between two frames gives io.EOF, inside
// one io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, buf []byte) (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	size := int(binary.BigEndian.Uint32(head[1:]))
	if size > len(buf) {
		return 0, nil, fmt.Errorf("read frame %q: %d bytes are more than the %d that one may carry", head[0], size, len(buf))
	}
	if _, err := io.ReadFull(r, buf[:size]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("read frame %q: %w", head[0], err)
	}
	return Kind(head[0]), buf[:size], nil
}

// FrameWriter is an io.Writer whose writes become frames of one kind.
type FrameWriter struct {
	W    io.Writer
	Kind Kind
}

// Write sends p, in several frames where one cannot carry it.
func (f FrameWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, MaxPayload)
		if err := WriteFrame(f.W, f.Kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
