// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

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
			Does:     "moves one of its threads into a threaded cgroup (its cgroup.threads file), where that uses CPU for a share of each period",
			Defaults: "threads-file= duty=0.1 period=100ms",
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
	// The Go runtime gives up when it cannot make a thread, and this cgroup
	// is about to be full: have all threads that a sleep needs by now.
	runtime.LockOSThread()
	sleep(ctx, 50*time.Millisecond)
	children := 0
	for try := 0; ctx.Err() == nil && (tries == 0 || try < tries); try++ {
		for children < most {
			err := forkIdle()
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return fmt.Errorf("fork child %d: %w", children+1, err)
			}
			children++
		}
		ts := unix.NsecToTimespec(every.Nanoseconds())
		_ = unix.Nanosleep(&ts, nil) // an early wake-up only means an early try
	}
	forever(ctx)
	return nil
}

// forkIdle makes a child that does nothing until it is killed. It is no new
// program: a Go program needs several threads, which pids.max would refuse.
//
//go:norace
func forkIdle() error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		// Only this thread exists in the child and the Go runtime is dead:
		// nothing but raw system calls is safe here.
		for {
			unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return nil
}

func runThread(ctx context.Context, p *params) error {
	file, duty, period := p.text("threads-file"), p.share("duty"), p.span("period")
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
		for ctx.Err() == nil {
			burn(ctx, time.Duration(float64(period)*duty))
			sleep(ctx, time.Duration(float64(period)*(1-duty)))
		}
	})
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}
