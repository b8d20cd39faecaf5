// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func cpuKinds() []Kind {
	return []Kind{
		{
			Name:     "spin",
			Does:     "threads use CPU for a share of each period, until a time (for) or an amount of CPU over all threads (cpu) is used up, then exit; 0 is without end",
			Defaults: "threads=1 duty=1 period=100ms for=0 cpu=0 hold=0",
			run:      runSpin,
		},
		{
			Name:     "burst",
			Does:     "in each period, all threads want work of CPU at once: as an API server, low on average and throttled all the same; for=0 is without end, hold=1 stays afterwards",
			Defaults: "threads=4 work=20ms period=250ms for=0 hold=0",
			run:      runBurst,
		},
	}
}

func runSpin(ctx context.Context, p *params) error {
	threads, duty, period := p.whole("threads"), p.share("duty"), p.span("period")
	limit, budget, hold := p.span("for"), p.span("cpu"), p.whole("hold")
	if p.err != nil {
		return p.err
	}
	runtime.GOMAXPROCS(max(1, threads))
	ctx, cancel := withLimit(ctx, limit)
	defer cancel()
	onThreads(threads, func() {
		var used time.Duration
		for ctx.Err() == nil && (budget == 0 || used < budget/time.Duration(threads)) {
			slice := time.Duration(float64(period) * duty)
			if budget > 0 {
				slice = min(slice, budget/time.Duration(threads)-used)
			}
			began := time.Now()
			burn(ctx, slice)
			used += slice
			if duty < 1 {
				sleep(ctx, period-time.Since(began))
			}
		}
	})
	if hold > 0 {
		forever(context.Background())
	}
	return nil
}

func runBurst(ctx context.Context, p *params) error {
	threads, work, period := p.whole("threads"), p.span("work"), p.span("period")
	limit, hold := p.span("for"), p.whole("hold")
	if p.err != nil {
		return p.err
	}
	runtime.GOMAXPROCS(max(1, threads))
	ctx, cancel := withLimit(ctx, limit)
	defer cancel()
	start := time.Now()
	onThreads(threads, func() {
		for n := time.Duration(1); ctx.Err() == nil; n++ {
			burn(ctx, work)
			// Arrivals follow the clock, so that being throttled does not
			// lower the demand; what piled up is worked off without a pause.
			sleep(ctx, time.Until(start.Add(n*period)))
		}
	})
	if hold > 0 {
		forever(context.Background())
	}
	return nil
}

// onThreads runs f on n operating-system threads of their own and returns when
// all are done.
func onThreads(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			runtime.LockOSThread()
			f()
		})
	}
	wg.Wait()
}

// withLimit is context.WithTimeout where 0 means no end.
func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// burn uses d of CPU time on the calling thread, which must be locked. Time
// the thread waits for a CPU or is throttled does not count.
func burn(ctx context.Context, d time.Duration) {
	end := threadCPU() + d
	for threadCPU() < end && ctx.Err() == nil {
		spinALittle()
	}
}

//go:noinline
func spinALittle() {
	x := uint64(1)
	for range 20_000 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	sink(x)
}

//go:noinline
func sink(uint64) {}

func threadCPU() time.Duration {
	var ts unix.Timespec
	// Cannot fail for this clock.
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
