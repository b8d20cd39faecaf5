// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package process starts programs that outlive the command that started them,
// and finds and stops them again later.
//
// It owns a directory with one log and one record per program. It must not
// know what the programs do.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Group is a set of programs, each known by a name.
type Group struct {
	// Directory is where logs and records are.
	Directory string
}

// record identifies a process for good: ids are used again, the time of
// start together with the id is not.
type record struct {
	PID int
	// StartTicks is field 22 of /proc/PID/stat, in clock ticks since boot.
	StartTicks string
}

// stopTime is how long a program may take to end before it is killed.
const stopTime = 10 * time.Second

// Start starts program under name, in a session of its own, with its output in
// Log(name). It is an error if a program of that name runs already.
func (g Group) Start(name, program string, arguments ...string) error {
	if running, err := g.Running(name); err != nil {
		return err
	} else if running {
		return fmt.Errorf("start %s: it runs already (stop the cluster first)", name)
	}
	if err := os.MkdirAll(g.Directory, 0o755); err != nil {
		return err
	}
	log, err := os.Create(g.Log(name))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = log, log
	command.Dir = g.Directory
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ticks, err := startTicks(command.Process.Pid)
	if err != nil {
		return fmt.Errorf("start %s: it ended at once: %s", name, g.Tail(name))
	}
	// The process is to outlive us, but while we live somebody has to wait for
	// it, else one that ends stays in /proc and looks alive.
	go func() { _ = command.Wait() }()
	content, err := json.Marshal(record{PID: command.Process.Pid, StartTicks: ticks})
	if err != nil {
		return err
	}
	return os.WriteFile(g.recordFile(name), content, 0o644)
}

// Running tells whether the program of that name runs.
func (g Group) Running(name string) (bool, error) {
	r, err := g.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.alive(), nil
}

// PID returns the process id of the program of that name, which runs.
func (g Group) PID(name string) (int, error) {
	r, err := g.read(name)
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	if !r.alive() {
		return 0, fmt.Errorf("%s has ended: %s", name, g.Tail(name))
	}
	return r.PID, nil
}

// Stop ends the program of that name: SIGTERM first, SIGKILL after 10 seconds.
// One that does not run is no error.
func (g Group) Stop(ctx context.Context, name string) error {
	r, err := g.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !r.alive() {
			break
		}
		if err := syscall.Kill(r.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s (process %d): %w", name, r.PID, err)
		}
		if err := r.await(ctx, stopTime); err != nil {
			return fmt.Errorf("stop %s (process %d): %w", name, r.PID, err)
		}
	}
	if r.alive() {
		return fmt.Errorf("stop %s: process %d does not end", name, r.PID)
	}
	return os.Remove(g.recordFile(name))
}

// Log returns the path of the program's log.
func (g Group) Log(name string) string { return filepath.Join(g.Directory, name+".log") }

// Tail returns the end of the program's log, for error messages.
func (g Group) Tail(name string) string {
	content, err := os.ReadFile(g.Log(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

func (g Group) recordFile(name string) string { return filepath.Join(g.Directory, name+".json") }

func (g Group) read(name string) (record, error) {
	content, err := os.ReadFile(g.recordFile(name))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("record of %s in %s: %w", name, g.recordFile(name), err)
	}
	return r, nil
}

func (r record) alive() bool {
	ticks, err := startTicks(r.PID)
	return err == nil && ticks == r.StartTicks
}

// await returns when the process has ended or the time is over.
func (r record) await(ctx context.Context, limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for r.alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return nil
		case <-poll.C:
		}
	}
	return nil
}

// startTicks fails for a process that does not exist or has ended without
// having been waited for.
func startTicks(pid int) (string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the command's name in brackets and may hold
	// anything, brackets and blanks included.
	_, rest, found := bytes.Cut(content[bytes.LastIndexByte(content, ')')+1:], []byte(" "))
	fields := strings.Fields(string(rest))
	if !found || len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}
