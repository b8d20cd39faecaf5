// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func processKinds() []Kind {
	return []Kind{
		{
			Name:     "idle",
			Does:     "nothing, as a pod's pause process",
			Defaults: "",
			run:      func(ctx context.Context, _ *params) error { forever(ctx); return nil },
		},
		{
			Name:     "exit",
			Does:     "exits by itself with a code",
			Defaults: "after=1s code=0",
			run:      runExit,
		},
		{
			Name:     "fork",
			Does:     "keeps up to max children that do nothing, trying each again where pids.max refuses them; tries=0 is without end",
			Defaults: "max=50 every=100ms tries=0",
			run:      runFork,
		},
		{
			Name:     "thread",
			Does:     "moves one of its threads into a threaded cgroup (its cgroup.threads file), where that uses CPU for a share of each period for a time (0: without end), and stays",
			Defaults: "threads-file= duty=0.1 period=100ms for=0",
			run:      runThread,
		},
	}
}

func runExit(ctx context.Context, p *params) error {
	after, code := p.span("after"), p.whole("code")
	if p.err != nil {
		return p.err
	}
	sleep(ctx, after)
	return exitError{code: code}
}

func runFork(ctx context.Context, p *params) error {
	most, every, tries := p.whole("max"), p.span("every"), p.whole("tries")
	if p.err != nil {
		return p.err
	}
	if err := forkIdle(most, unix.NsecToTimespec(every.Nanoseconds()), tries); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	forever(ctx)
	return nil
}

// forkIdle makes a child that keeps up to most children which do nothing, as
// runFork's description says, until it is killed. None of them is a new
// program, or even a running Go program: that wants threads now and then, and
// gives up when pids.max refuses them.
//
//go:norace
func forkIdle(most int, every unix.Timespec, tries int) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid != 0 {
		return nil
	}
	// Only this thread exists in the child and the Go runtime is dead: nothing
	// but arithmetic and raw system calls is safe from here.
	for try, children := 0, 0; tries == 0 || try < tries; try++ {
		for children < most {
			pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if errno != 0 {
				break
			}
			for pid == 0 {
				_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
			children++
		}
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&every)), 0, 0)
	}
	for {
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

func runThread(ctx context.Context, p *params) error {
	file, duty, period, limit := p.text("threads-file"), p.share("duty"), p.span("period"), p.span("for")
	if p.err != nil {
		return p.err
	}
	runtime.GOMAXPROCS(2)
	failed := make(chan error, 1)
	go onThreads(1, func() {
		if err := os.WriteFile(file, []byte(strconv.Itoa(unix.Gettid())), 0); err != nil {
			failed <- fmt.Errorf("move a thread: %w", err)
			return
		}
		working, cancel := withLimit(ctx, limit)
		defer cancel()
		for working.Err() == nil {
			burn(working, time.Duration(float64(period)*duty))
			sleep(working, time.Duration(float64(period)*(1-duty)))
		}
		// The thread stays in its cgroup.
		forever(ctx)
	})
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}
