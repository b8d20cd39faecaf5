// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrivalKinds are those whose work comes at random, the same for each seed.
func arrivalKinds() []Kind {
	return []Kind{
		{
			Name:     "duty",
			Does:     "a process uses run of CPU and sleeps in turn, each a fifth more or less than said, which seed decides",
			Defaults: "run=50ms sleep=150ms seed=1",
			run:      runDuty,
		},
		{
			Name:     "together",
			Does:     "all threads, each a process of one, want work of CPU at once, in each period at a moment within jitter that seed decides; one that is still at it skips one: synchronised bursts, garbage collections",
			Defaults: "threads=4 work=20ms period=1s jitter=200ms seed=1",
			run:      runTogether,
		},
		{
			Name:     "pool",
			Does:     "threads, each a process of one, take requests from a queue; rate of them come a second, independent of each other, each of work on average, exponential (dist=exp) or with a heavy tail (dist=pareto)",
			Defaults: "threads=4 rate=20 work=10ms dist=exp seed=1",
			run:      runPool,
		},
	}
}

// mostPieces bounds what is made in advance; after that it begins again, later.
const mostPieces = 1 << 14

// piece is a piece of work, in ns: of CPU, not before a time since the start, with
// a pause after it.
type piece struct{ at, work, pause int64 }

func runDuty(ctx context.Context, p *params) error {
	run, pause, seed := p.span("run"), p.span("sleep"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	random := seeded(seed)
	about := func(d time.Duration) int64 { return int64(float64(d) * (0.8 + 0.4*random.Float64())) }
	return doPieces(ctx, 1, false, func(int) piece { return piece{work: about(run), pause: about(pause)} })
}

func runTogether(ctx context.Context, p *params) error {
	threads, work, period, jitter, seed := p.whole("threads"), p.span("work"), p.span("period"), p.span("jitter"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	if period == 0 {
		return &usageError{"together: period=0 never ends"}
	}
	random := seeded(seed)
	return doPieces(ctx, threads, false, func(n int) piece {
		at := 100*time.Millisecond + time.Duration(n)*period + time.Duration(random.Float64()*float64(jitter))
		return piece{at: int64(at), work: int64(work)}
	})
}

func runPool(ctx context.Context, p *params) error {
	threads, rate, work, dist, seed := p.whole("threads"), p.whole("rate"), p.span("work"), p.text("dist"), p.whole("seed")
	if p.err != nil {
		return p.err
	}
	if rate == 0 || dist != "exp" && dist != "pareto" {
		return &usageError{fmt.Sprintf("pool: rate=%d dist=%s: want a rate, and exp or pareto", rate, dist)}
	}
	random := seeded(seed)
	due := 1.0
	return doPieces(ctx, threads, true, func(int) piece {
		due += random.ExpFloat64() / float64(rate) * 1e9
		amount := random.ExpFloat64() * float64(work)
		if dist == "pareto" {
			// The shape is 1.5, so the least request is a third of the mean.
			amount = min(1e9, float64(work)/3*math.Pow(1-random.Float64(), -1/1.5))
		}
		return piece{at: int64(due), work: int64(amount)}
	})
}

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// pieces are what processes share: the work, and which piece is next.
type pieces struct {
	next  atomic.Int64
	queue bool // the pieces are shared out, else each process does all of them
	start int64
	// round is how much later, in ns, all of them come when they come again.
	round int64
	all   [mostPieces]piece
}

// fill makes the pieces. Those that come again follow the last as one more would.
func (s *pieces) fill(make func(n int) piece) {
	for i := range s.all {
		s.all[i] = make(i)
	}
	s.round = make(mostPieces).at - s.all[0].at
}

// due returns when piece i, of as many as one likes, comes: 0 for at once, else in
// ns of CLOCK_MONOTONIC.
//
//go:norace
//go:nosplit
func (s *pieces) due(i int64) int64 {
	at := s.all[i%mostPieces].at
	if at == 0 {
		return 0
	}
	return s.start + at + i/mostPieces*s.round
}

// doPieces lets so many processes work, until they are killed. None of them has a
// Go runtime: its threads, which wake up to look around, would use as much as the
// work where the clock counts instructions and processors take turns.
func doPieces(ctx context.Context, processes int, queue bool, make func(n int) piece) error {
	memory, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(pieces{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("make room for the work: %w", err)
	}
	shared := (*pieces)(unsafe.Pointer(&memory[0]))
	shared.queue = queue
	shared.fill(make)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	shared.start = now.Nano()
	for range processes {
		if err := forkWorker(shared); err != nil {
			return fmt.Errorf("fork: %w", err)
		}
	}
	forever(ctx)
	return nil
}

// forkWorker makes a child that does the pieces until it is killed.
//
//go:norace
//go:nosplit
func forkWorker(shared *pieces) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid != 0 {
		return nil
	}
	// Only this thread exists in the child and the Go runtime is dead: nothing
	// but arithmetic and raw system calls is safe from here.
	for own := int64(0); ; own++ {
		i := own
		if shared.queue {
			i = shared.next.Add(1) - 1
		}
		p := &shared.all[i%mostPieces]
		if due := shared.due(i); due > 0 {
			late := rawClock(unix.CLOCK_MONOTONIC) > due
			if late && own > 0 && !shared.queue {
				continue // still at the one before
			}
			rawSleep(due)
		}
		rawBurn(p.work)
		if p.pause > 0 {
			rawSleep(rawClock(unix.CLOCK_MONOTONIC) + p.pause)
		}
	}
}

// rawBurn uses so many ns of CPU time, to a twentieth of a ms on a slow machine.
//
//go:norace
//go:nosplit
func rawBurn(nanos int64) {
	x := uint64(1)
	for end := rawClock(unix.CLOCK_THREAD_CPUTIME_ID) + nanos; rawClock(unix.CLOCK_THREAD_CPUTIME_ID) < end && x != 0; {
		for range 2_000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
}

//go:norace
//go:nosplit
func rawClock(clock uintptr) int64 {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Sec*1e9 + ts.Nsec
}

// rawSleep waits until a time of CLOCK_MONOTONIC.
//
//go:norace
//go:nosplit
func rawSleep(until int64) {
	ts := unix.Timespec{Sec: until / 1e9, Nsec: until % 1e9}
	_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}
