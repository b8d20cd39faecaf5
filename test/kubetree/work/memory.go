// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func memoryKinds() []Kind {
	return []Kind{
		{
			Name:     "hold",
			Does:     "touches so much anonymous memory, at once or over a time, and keeps it, using CPU for a share of each period meanwhile (more than memory.max allows, where there is swap, is swapped)",
			Defaults: "bytes=16Mi over=0 for=0 duty=0 period=1s",
			run:      runHold,
		},
		{
			Name:     "grow",
			Does:     "starts at so much anonymous memory and touches step more every so often, until killed",
			Defaults: "from=0 step=1Mi every=100ms",
			run:      runGrow,
		},
		{
			Name:     "over",
			Does:     "goes up to and beyond memory.high in steps, gives all back, again and again, rounds times (0: without end) with a pause between: the kernel stalls it",
			Defaults: "bytes=32Mi step=256Ki pause=1s rounds=0",
			run:      runOver,
		},
		{
			Name:     "cache",
			Does:     "writes a file and reads it back, rounds times, then holds it: page cache, if the file is on a disk (a file on tmpfs is shared memory)",
			Defaults: "file= bytes=16Mi rounds=1 pause=1s",
			run:      runCache,
		},
		{
			Name:     "child",
			Does:     "starts a child that grows by step until it is killed, and lives on itself, again after pause, rounds times (0: without end)",
			Defaults: "step=1Mi every=20ms pause=5s rounds=0",
			run:      runChild,
		},
	}
}

// anonymous maps n bytes that no page backs yet. Huge pages are off so that
// what is touched is what is charged.
func anonymous(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("turn huge pages off: %w", err)
	}
	return mem, nil
}

// touch writes to every page of mem, each another content: same-filled pages
// take no room in some kinds of swap.
func touch(mem []byte) {
	page := os.Getpagesize()
	x := uint64(88172645463325252)
	for i := 0; i < len(mem); i += page {
		for j := i; j+8 <= min(i+page, len(mem)); j += 256 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			for k := range 8 {
				mem[j+k] = byte(x >> (8 * k))
			}
		}
	}
}

func runHold(ctx context.Context, p *params) error {
	n, over, limit, duty, period := p.bytes("bytes"), p.span("over"), p.span("for"), p.share("duty"), p.span("period")
	if p.err != nil {
		return p.err
	}
	ctx, cancel := withLimit(ctx, limit)
	defer cancel()
	if n > 0 {
		mem, err := anonymous(n)
		if err != nil {
			return err
		}
		touchOver(ctx, mem, over)
	}
	if duty == 0 {
		forever(ctx)
		return nil
	}
	onThreads(1, func() {
		for ctx.Err() == nil {
			burn(ctx, time.Duration(float64(period)*duty))
			sleep(ctx, time.Duration(float64(period)*(1-duty)))
		}
	})
	return nil
}

// touchOver touches mem in so many steps over a time that each takes a moment.
func touchOver(ctx context.Context, mem []byte, over time.Duration) {
	steps := 1
	if over > 0 {
		steps = 100
	}
	for i := range steps {
		touch(mem[i*len(mem)/steps : (i+1)*len(mem)/steps])
		sleep(ctx, over/time.Duration(steps))
	}
}

func runGrow(ctx context.Context, p *params) error {
	from, step, every := p.bytes("from"), p.bytes("step"), p.span("every")
	if p.err != nil {
		return p.err
	}
	for n := from; ctx.Err() == nil; n = step {
		if n > 0 {
			mem, err := anonymous(n)
			if err != nil {
				return err
			}
			touch(mem)
		}
		sleep(ctx, every)
	}
	return nil
}

func runOver(ctx context.Context, p *params) error {
	n, step, pause, rounds := p.bytes("bytes"), p.bytes("step"), p.span("pause"), p.whole("rounds")
	if p.err != nil {
		return p.err
	}
	if step == 0 {
		return &usageError{"over: step=0 never gets anywhere"}
	}
	mem, err := anonymous(n)
	if err != nil {
		return err
	}
	for round := 0; ctx.Err() == nil && (rounds == 0 || round < rounds); round++ {
		for at := 0; at < n; at += step {
			touch(mem[at:min(at+step, n)])
		}
		if err := unix.Madvise(mem, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("give %d bytes back: %w", n, err)
		}
		sleep(ctx, pause)
	}
	forever(ctx)
	return nil
}

func runCache(ctx context.Context, p *params) error {
	name, n, rounds, pause := p.text("file"), p.bytes("bytes"), p.whole("rounds"), p.span("pause")
	if p.err != nil {
		return p.err
	}
	if name == "" {
		return &usageError{"cache: file= must name a file that may be overwritten"}
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make the cached file: %w", err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for round := 0; ctx.Err() == nil && (rounds == 0 || round < rounds); round++ {
		if err := writeAndRead(f, block, n); err != nil {
			return err
		}
		sleep(ctx, pause)
	}
	forever(ctx)
	return nil
}

// writeAndRead fills f with n bytes, forces them to the disk and reads all.
func writeAndRead(f *os.File, block []byte, n int) error {
	touch(block)
	for at := 0; at < n; at += len(block) {
		if _, err := f.WriteAt(block[:min(len(block), n-at)], int64(at)); err != nil {
			return fmt.Errorf("write the cached file: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the cached file: %w", err)
	}
	for at := 0; at < n; at += len(block) {
		if _, err := f.ReadAt(block, int64(at)); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the cached file: %w", err)
		}
	}
	return nil
}

func runChild(ctx context.Context, p *params) error {
	step, every, pause, rounds := p.text("step"), p.text("every"), p.span("pause"), p.whole("rounds")
	if p.err != nil {
		return p.err
	}
	for round := 0; ctx.Err() == nil && (rounds == 0 || round < rounds); round++ {
		sleep(ctx, pause)
		child := again(ctx, Command{Kind: "grow", Args: []string{"step=" + step, "every=" + every, "comm=hog"}})
		// That the child is killed is the purpose.
		if err := child.Run(); err != nil && child.ProcessState == nil {
			sleep(ctx, time.Second)
		}
	}
	forever(ctx)
	return nil
}
