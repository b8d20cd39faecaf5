// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/slicewatch/slicewatch/test/bench/benchresult"
)

// measure does f a number of times and returns what one took. Collections of
// garbage that f causes are in it.
func measure(name string, times int, f func() error) (benchresult.Row, error) {
	// What is read rarely has its turn, buffers and maps get their size.
	for range 2 {
		if err := f(); err != nil {
			return benchresult.Row{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for range times {
		if err := f(); err != nil {
			return benchresult.Row{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	per := func(a, b uint64) float64 { return float64(b-a) / float64(times) }
	return benchresult.Row{
		Name: name, Nanos: float64(took.Nanoseconds()) / float64(times),
		Allocations: per(before.Mallocs, after.Mallocs), AllocatedBytes: per(before.TotalAlloc, after.TotalAlloc),
	}, nil
}

// contender is one way to do a work.
type contender struct {
	name  string
	times int
	run   func() error
}

func measureAll(all []contender) ([]benchresult.Row, error) {
	var rows []benchresult.Row
	for _, c := range all {
		row, err := measure(c.name, c.times, c.run)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}
