// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// Push copies a file of the host into the guest, with its permissions.
func (m *Machine) Push(ctx context.Context, hostPath, guestPath string) error {
	file, err := os.Open(hostPath)
	if err != nil {
		return fmt.Errorf("push into the machine: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("push into the machine: %w", err)
	}
	return m.write(ctx, guestPath, info.Mode(), file)
}

// WriteFile writes a file in the guest; missing directories are made. Control
// files of cgroups and the like can be written to.
func (m *Machine) WriteFile(ctx context.Context, guestPath string, data []byte, perm fs.FileMode) error {
	return m.write(ctx, guestPath, perm, bytes.NewReader(data))
}

// Pull copies a file of the guest to the host.
func (m *Machine) Pull(ctx context.Context, guestPath, hostPath string) error {
	file, err := os.Create(hostPath)
	if err != nil {
		return fmt.Errorf("pull from the machine: %w", err)
	}
	defer file.Close()
	if err := m.read(ctx, guestPath, file); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("pull from the machine: %w", err)
	}
	return nil
}

// ReadFile reads a file in the guest.
func (m *Machine) ReadFile(ctx context.Context, guestPath string) ([]byte, error) {
	var data bytes.Buffer
	if err := m.read(ctx, guestPath, &data); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

func (m *Machine) write(ctx context.Context, guestPath string, perm fs.FileMode, data io.Reader) error {
	request := wire.Request{Op: wire.OpWrite, Path: guestPath, Mode: uint32(perm.Perm())}
	err := m.transfer(ctx, request, func(conn net.Conn) error {
		// When the guest gives up, it says why and closes: the reason is read
		// below, and is better than this side's broken pipe.
		out := wire.FrameWriter{W: conn, Kind: wire.KindData}
		if _, err := io.Copy(struct{ io.Writer }{out}, data); err != nil {
			return err
		}
		return wire.WriteFrame(conn, wire.KindEnd, nil)
	}, io.Discard)
	if err != nil {
		return fmt.Errorf("write %s in the machine: %w", guestPath, err)
	}
	return nil
}

func (m *Machine) read(ctx context.Context, guestPath string, to io.Writer) error {
	request := wire.Request{Op: wire.OpRead, Path: guestPath}
	if err := m.transfer(ctx, request, func(net.Conn) error { return nil }, to); err != nil {
		return fmt.Errorf("read %s in the machine: %w", guestPath, err)
	}
	return nil
}

// transfer does one request: send, then receive up to the guest's verdict.
func (m *Machine) transfer(ctx context.Context, request wire.Request, send func(net.Conn) error, to io.Writer) error {
	conn, err := m.open(ctx, request)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sendErr := send(conn)
	buf := make([]byte, wire.MaxPayload)
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if err != nil {
			return errors.Join(m.explain(errors.Join(sendErr, err)), ctx.Err())
		}
		switch kind {
		case wire.KindData:
			if _, err := to.Write(payload); err != nil {
				return err
			}
		case wire.KindExited:
			var exit wire.Exit
			if err := json.Unmarshal(payload, &exit); err != nil {
				return fmt.Errorf("read the guest's answer: %w", err)
			}
			if exit.Error != "" {
				return errors.New(exit.Error)
			}
			return sendErr
		default:
			return fmt.Errorf("the guest answered with an unexpected frame %q", kind)
		}
	}
}
