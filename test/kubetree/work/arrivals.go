// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// arrivalKinds are those whose work comes at random, the same for each seed.
func arrivalKinds() []Kind {
	return []Kind{
		{
			Name:     "duty",
			Does:     "a thread uses run of CPU and sleeps in turn, each a fifth more or less than said, which seed decides",
			Defaults: "run=50ms sleep=150ms seed=1",
			run:      runDuty,
		},
		{
			Name:     "together",
			Does:     "all threads want work of CPU at once, in each period at a moment within jitter that seed decides; a thread that is still at it skips one: synchronised bursts, garbage collections",
			Defaults: "threads=4 work=20ms period=1s jitter=200ms seed=1",
			run:      runTogether,
		},
		{
			Name:     "pool",
			Does:     "threads take requests from a queue; rate of them come a second, independent of each other, each of work on average, exponential (dist=exp) or with a heavy tail (dist=pareto)",
			Defaults: "threads=4 rate=20 work=10ms dist=exp seed=1",
			run:      runPool,
		},
	}
}

func runDuty(ctx context.Context, p *params) error {
	run, pause, seed := p.span("run"), p.span("sleep"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	random := seeded(seed)
	about := func(d time.Duration) time.Duration { return time.Duration(float64(d) * (0.8 + 0.4*random.Float64())) }
	runtime.GOMAXPROCS(1)
	onThreads(1, func() {
		for ctx.Err() == nil {
			burnFinely(ctx, about(run))
			sleepUntil(monotonic() + about(pause))
		}
	})
	return nil
}

func runTogether(ctx context.Context, p *params) error {
	threads, work, period, jitter, seed := p.whole("threads"), p.span("work"), p.span("period"), p.span("jitter"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	if period == 0 {
		return &usageError{"together: period=0 never ends"}
	}
	runtime.GOMAXPROCS(threads + 1)
	start := monotonic() + 100*time.Millisecond
	onThreads(threads, func() {
		random := seeded(seed) // each thread finds the same moments
		for n := time.Duration(0); ctx.Err() == nil; n++ {
			due := start + n*period + time.Duration(random.Float64()*float64(jitter))
			if due < monotonic() {
				continue // still at the one before
			}
			sleepUntil(due)
			burnFinely(ctx, work)
		}
	})
	return nil
}

// queued is how many requests may wait: more are refused.
const queued = 4096

func runPool(ctx context.Context, p *params) error {
	threads, rate, work, dist, seed := p.whole("threads"), p.whole("rate"), p.span("work"), p.text("dist"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	if rate == 0 || dist != "exp" && dist != "pareto" {
		return &usageError{fmt.Sprintf("pool: rate=%d dist=%s: want a rate, and exp or pareto", rate, dist)}
	}
	random := seeded(seed)
	amount := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(work)) }
	if dist == "pareto" {
		amount = func() time.Duration {
			// The shape is 1.5, so the least request is a third of the mean.
			return min(time.Second, time.Duration(float64(work)/3*math.Pow(1-random.Float64(), -1/1.5)))
		}
	}
	runtime.GOMAXPROCS(threads + 1)
	requests := make(chan time.Duration, queued)
	defer close(requests)
	go onThreads(threads, func() {
		for request := range requests {
			burnFinely(ctx, request)
		}
	})
	onThreads(1, func() {
		for due := monotonic(); ctx.Err() == nil; {
			due += time.Duration(random.ExpFloat64() / float64(rate) * float64(time.Second))
			sleepUntil(due)
			select {
			case requests <- amount():
			default:
			}
		}
	})
	return nil
}

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// burnFinely is burn to the tenth of a millisecond on a slow machine.
func burnFinely(ctx context.Context, d time.Duration) {
	end := threadCPU() + d
	for threadCPU() < end && ctx.Err() == nil {
		spinFor(2_000)
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	// Cannot fail for this clock.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// sleepUntil waits in the kernel, so that the thread wakes by itself: a timer
// of the runtime would make another one run first.
func sleepUntil(at time.Duration) {
	ts := unix.NsecToTimespec(int64(at))
	for errors.Is(unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil), unix.EINTR) {
	}
}
