// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/vm/long"
)

// The kernel counts what programs take only while somebody asks for it.
func countRuns(t *testing.T) (stop func()) {
	t.Helper()
	counting, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := counting.Close(); err != nil {
			t.Error(err)
		}
	}
}

// logRuns logs what the programs of a collection took.
func logRuns(t *testing.T, c *ebpf.Collection) {
	t.Helper()
	for name, program := range c.Programs {
		stats, err := program.Stats()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-24s %6d runs of %5.0f ns", name, stats.RunCount, float64(stats.Runtime)/float64(max(stats.RunCount, 1)))
	}
}

// burn is work that takes the same instructions each time.
func burn() {
	for i := range 300_000_000 {
		runtime.KeepAlive(i)
	}
}

// TestCostOfThrottles logs what a throttle costs with the program and without:
// how much longer the same work takes beside containers that are throttled
// all the time. The figures mean something where the clock counts
// instructions (vmtest -icount).
func TestCostOfThrottles(t *testing.T) {
	long.Only(t, "measures, and finds no fault")
	tr := newTree(t)
	var dirs []string
	for i := range 8 {
		dir := tr.pod + "/" + strconv.Itoa(i)
		tr.mkdir(dir)
		tr.write(dir, "cpu.max", "1000 20000") // together two fifths of a CPU
		tr.start(dir, "spin 1")
		tr.until(dir, "cpu.stat", "nr_throttled ", 10)
		dirs = append(dirs, dir)
	}
	sum := func(key string) (n uint64) {
		for _, dir := range dirs {
			n += tr.number(dir, "cpu.stat", key)
		}
		return n
	}
	type cost struct{ took, used, throttles float64 }
	measure := func() cost {
		used, throttles, began := sum("usage_usec "), sum("nr_throttled "), time.Now()
		burn()
		return cost{
			float64(time.Since(began).Microseconds()),
			float64(sum("usage_usec ") - used), float64(sum("nr_throttled ") - throttles),
		}
	}
	for range 2 {
		off := measure()
		r, err := Open(Config{BoundsNanos: testBounds()})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetPlace(tr.place); err != nil {
			t.Fatal(err)
		}
		on := measure()
		// What is left of the time is the work's, with what the kernel does
		// meanwhile.
		more := (on.took - on.used) - (off.took - off.used)
		t.Logf("%.0f throttles a second: the work took %.0f µs off, %.0f on: %.2f µs more for each throttle, %.3f %% of the CPU",
			1e6*on.throttles/on.took, off.took-off.used, on.took-on.used, more/on.throttles, 100*more/on.took)
		began := time.Now()
		drain(t, r)
		t.Logf("taking over %.0f throttles: %.2f µs each", on.throttles, float64(time.Since(began).Microseconds())/on.throttles)
		stop := countRuns(t)
		time.Sleep(time.Second)
		stop()
		logRuns(t, r.throttle.collection)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCostOfStalls logs what a reclaim at a limit costs with the program and
// without. Run it with -swap as well.
func TestCostOfStalls(t *testing.T) {
	long.Only(t, "measures, and finds no fault")
	tr := newTree(t)
	dir := tr.pod + "/limit"
	tr.mkdir(dir)
	tr.write(dir, "memory.max", "16M")
	tr.start(dir, "grow 24")
	tr.until(dir, "memory.events", "max ", 200)
	const hits = 1000
	measure := func() float64 {
		used, from := tr.number(dir, "cpu.stat", "usage_usec "), tr.number(dir, "memory.events", "max ")
		tr.until(dir, "memory.events", "max ", from+hits)
		return float64(tr.number(dir, "cpu.stat", "usage_usec ")-used) / float64(tr.number(dir, "memory.events", "max ")-from)
	}
	for range 2 {
		off := measure()
		r, err := Open(Config{BoundsNanos: testBounds()})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetPlace(tr.place); err != nil {
			t.Fatal(err)
		}
		on := measure()
		t.Logf("for each time that the limit was hit the container used %.1f µs off, %.1f µs on", off, on)
		stop := countRuns(t)
		measure()
		stop()
		logRuns(t, r.stall.collection)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
