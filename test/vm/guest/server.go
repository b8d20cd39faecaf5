// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// lingerTime is how long output is still awaited from processes that a command
// has left behind with its pipes.
const lingerTime = 2 * time.Second

// serve answers connections, each in a goroutine of its own, until OpHalt.
func serve() error {
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", wire.Port))
	if err != nil {
		return fmt.Errorf("listen for the host: %w", err)
	}
	// In one write with its newlines, so that a kernel message cannot get between.
	fmt.Print("\n" + wire.ReadyLine + "\n")
	halted := make(chan struct{})
	go func() {
		<-halted
		listener.Close()
	}()
	var once sync.Once
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		go func() {
			defer conn.Close()
			if answer(conn) {
				once.Do(func() { close(halted) })
			}
		}()
	}
}

// answer does what one connection asks for; it reports a request to halt.
func answer(conn net.Conn) (halt bool) {
	buf := make([]byte, wire.MaxPayload)
	kind, payload, err := wire.ReadFrame(conn, buf)
	if err != nil || kind != wire.KindRequest {
		return false
	}
	var request wire.Request
	if err := json.Unmarshal(payload, &request); err != nil {
		finish(conn, wire.Exit{Error: "read request: " + err.Error()})
		return false
	}
	var exit wire.Exit
	switch request.Op {
	case wire.OpExec:
		exit, err = execute(conn, request, buf)
	case wire.OpWrite:
		err = writeFile(conn, request, buf)
	case wire.OpRead:
		err = readFile(conn, request, buf)
	case wire.OpHalt:
		halt = true
	default:
		err = fmt.Errorf("unknown request %q", request.Op)
	}
	if err != nil {
		exit.Error = err.Error()
	}
	finish(conn, exit)
	return halt
}

// finish ignores a failed write: then there is no host left to tell.
func finish(conn net.Conn, exit wire.Exit) {
	_ = wire.WriteJSON(conn, wire.KindExited, exit)
}

// lockedWriter keeps the frames of stdout and stderr apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func execute(conn net.Conn, request wire.Request, buf []byte) (wire.Exit, error) {
	out := &lockedWriter{w: conn}
	cmd := exec.Command(request.Path, request.Args...)
	cmd.Env = append(environment(), request.Env...)
	cmd.Dir = request.Dir
	cmd.Stdout = wire.FrameWriter{W: out, Kind: wire.KindStdout}
	cmd.Stderr = wire.FrameWriter{W: out, Kind: wire.KindStderr}
	if request.Merge {
		// os/exec uses one pipe when both are the same writer.
		cmd.Stderr = cmd.Stdout
	}
	cmd.WaitDelay = lingerTime
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if request.Cgroup != "" {
		dir, err := openCgroup(request.Cgroup)
		if err != nil {
			return wire.Exit{}, err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		return wire.Exit{}, fmt.Errorf("start %s: %w", request.Path, err)
	}
	_ = wire.WriteNumber(out, wire.KindStarted, cmd.Process.Pid)
	go obeySignals(conn, cmd.Process, buf)
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return wire.Exit{}, fmt.Errorf("wait for %s: %w", request.Path, err)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return wire.Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}, nil
	}
	return wire.Exit{Code: status.ExitStatus()}, nil
}

func openCgroup(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return dir, nil
}

// obeySignals ends with the connection; the host's going away kills the whole
// process group, so that nothing stays behind to disturb the next command.
func obeySignals(conn net.Conn, process *os.Process, buf []byte) {
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if err != nil {
			_ = unix.Kill(-process.Pid, unix.SIGKILL)
			return
		}
		if kind != wire.KindSignal {
			continue
		}
		if number, err := wire.Number(payload); err == nil {
			// A command that has ended meanwhile cannot be signalled: the host
			// learns of it from Exited.
			_ = process.Signal(syscall.Signal(number))
		}
	}
}

func writeFile(conn net.Conn, request wire.Request, buf []byte) error {
	if err := os.MkdirAll(filepath.Dir(request.Path), 0o755); err != nil {
		return fmt.Errorf("make the directory of a file: %w", err)
	}
	// Control files may be opened for writing but not made or truncated.
	flags := os.O_WRONLY
	if _, err := os.Lstat(request.Path); errors.Is(err, os.ErrNotExist) {
		flags |= os.O_CREATE
	} else {
		flags |= os.O_TRUNC
	}
	file, err := os.OpenFile(request.Path, flags, os.FileMode(request.Mode).Perm())
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	defer file.Close()
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if err != nil {
			return fmt.Errorf("receive %s: %w", request.Path, err)
		}
		if kind == wire.KindEnd {
			break
		}
		if _, err := file.Write(payload); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

// readFile reads to the end instead of by size: files of /proc and of cgroups
// have none.
func readFile(conn net.Conn, request wire.Request, buf []byte) error {
	file, err := os.Open(request.Path)
	if err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	defer file.Close()
	if _, err := io.CopyBuffer(wire.FrameWriter{W: conn, Kind: wire.KindData}, struct{ io.Reader }{file}, buf); err != nil {
		return fmt.Errorf("read %s: %w", request.Path, err)
	}
	return nil
}
