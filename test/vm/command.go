// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// killTime is how long a command may take to end after it was killed.
const killTime = 10 * time.Second

// Command is a program to run in the guest.
type Command struct {
	// Path is a path in the guest, or a name to look up in /bin.
	Path string
	Args []string
	// Env is added to PATH, HOME, TMPDIR, USER and IN_TEST_MACHINE=1.
	Env []string
	// Dir is the working directory; empty: /.
	Dir string
	// Cgroup starts the program inside that cgroup, a path below /sys/fs/cgroup;
	// it is made if it does not exist.
	Cgroup string
	// MergeOutput sends stderr to stdout in the guest already, so that the order
	// of lines is kept.
	MergeOutput bool
}

// Process is a command that was started.
type Process struct {
	name string
	conn net.Conn
	m    *Machine
	pid  int

	writing sync.Mutex
	done    chan struct{}
	code    int
	err     error
}

// open connects to the guest and sends the request. The connection is closed
// when ctx ends before that is done.
func (m *Machine) open(ctx context.Context, request wire.Request) (net.Conn, error) {
	select {
	case <-m.qemu.ended:
		return nil, m.endError()
	default:
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(m.ports[0])))
	if err != nil {
		return nil, m.explain(fmt.Errorf("reach the machine: %w", err))
	}
	if err := wire.WriteJSON(conn, wire.KindRequest, request); err != nil {
		conn.Close()
		return nil, m.explain(err)
	}
	return conn, nil
}

// explain puts the machine's own failure in place of the broken connection that
// it shows itself by.
func (m *Machine) explain(err error) error {
	if err == nil {
		return nil
	}
	// QEMU ends a moment after its sockets do.
	select {
	case <-m.qemu.ended:
	case <-time.After(200 * time.Millisecond):
	}
	if cause := m.Err(); cause != nil {
		return cause
	}
	return err
}

// Start starts a command. Its output is written as it comes, stdout and stderr
// from one goroutine, which ends with the command; either may be nil. The end
// of ctx kills the command.
func (m *Machine) Start(ctx context.Context, c Command, stdout, stderr io.Writer) (*Process, error) {
	conn, err := m.open(ctx, wire.Request{
		Op: wire.OpExec, Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, Cgroup: c.Cgroup, Merge: c.MergeOutput,
	})
	if err != nil {
		return nil, fmt.Errorf("run %s in the machine: %w", c.Path, err)
	}
	p := &Process{name: c.Path, conn: conn, m: m, done: make(chan struct{})}
	stopWaiting := context.AfterFunc(ctx, func() { conn.Close() })
	buf := make([]byte, wire.MaxPayload)
	if err := p.awaitStart(buf); err != nil {
		stopWaiting()
		conn.Close()
		return nil, fmt.Errorf("run %s in the machine: %w", c.Path, errors.Join(m.explain(err), ctx.Err()))
	}
	if !stopWaiting() {
		return nil, fmt.Errorf("run %s in the machine: %w", c.Path, ctx.Err())
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	go p.follow(ctx, buf, stdout, stderr)
	return p, nil
}

// awaitStart reads until the guest has started the program or says why not.
func (p *Process) awaitStart(buf []byte) error {
	kind, payload, err := wire.ReadFrame(p.conn, buf)
	if err != nil {
		return err
	}
	switch kind {
	case wire.KindStarted:
		p.pid, err = wire.Number(payload)
		return err
	case wire.KindExited:
		var exit wire.Exit
		if err := json.Unmarshal(payload, &exit); err != nil {
			return fmt.Errorf("read the guest's answer: %w", err)
		}
		return errors.New(exit.Error)
	default:
		return fmt.Errorf("the guest answered with an unexpected frame %q", kind)
	}
}

// follow copies output until the command has ended. On the end of ctx it kills
// the command and gives it some time to be gone.
func (p *Process) follow(ctx context.Context, buf []byte, stdout, stderr io.Writer) {
	defer close(p.done)
	defer p.conn.Close()
	stopKilling := context.AfterFunc(ctx, func() {
		_ = p.Signal(syscall.SIGKILL)
		_ = p.conn.SetReadDeadline(time.Now().Add(killTime))
	})
	defer stopKilling()
	for {
		kind, payload, err := wire.ReadFrame(p.conn, buf)
		if err != nil {
			p.end(-1, errors.Join(p.m.explain(fmt.Errorf("lost sight of it: %w", err)), ctx.Err()))
			return
		}
		switch kind {
		case wire.KindStdout:
			_, err = stdout.Write(payload)
		case wire.KindStderr:
			_, err = stderr.Write(payload)
		case wire.KindExited:
			var exit wire.Exit
			if err = json.Unmarshal(payload, &exit); err == nil {
				if exit.Error != "" {
					err = errors.New(exit.Error)
				}
				p.end(exit.Code, errors.Join(err, ctx.Err()))
				return
			}
		}
		if err != nil {
			p.end(-1, fmt.Errorf("pass on its output: %w", err))
			return
		}
	}
}

func (p *Process) end(code int, err error) {
	p.code = code
	if err != nil {
		p.err = fmt.Errorf("run %s in the machine: %w", p.name, err)
	}
}

// PID is the process's number in the guest.
func (p *Process) PID() int { return p.pid }

// Done is closed when the command has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the command, not to processes that it has started.
func (p *Process) Signal(signal syscall.Signal) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := wire.WriteNumber(p.conn, wire.KindSignal, int(signal)); err != nil {
		return fmt.Errorf("signal %s in the machine: %w", p.name, err)
	}
	return nil
}

// Wait returns the exit status, 128 + number where a signal ended the command.
// The error is of something else: the machine's end, ctx's end, a writer. Then
// the status is -1 if the command's own is not known.
func (p *Process) Wait() (int, error) {
	<-p.done
	return p.code, p.err
}

// Run runs a command to its end. See Start and Process.Wait.
func (m *Machine) Run(ctx context.Context, c Command, stdout, stderr io.Writer) (int, error) {
	p, err := m.Start(ctx, c, stdout, stderr)
	if err != nil {
		return -1, err
	}
	return p.Wait()
}
