// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// shape is a workload. Its works have "seed=S", which is filled in.
type shape struct {
	name  string
	class Class
	works []string
	// boot says that the start is what it is about: else it is not looked at.
	boot bool
	// long is for the long run, slow also where minutes are the host's.
	long, slow bool
	// cpus is how many the machine must have for it to be what it is.
	cpus int
	// saturates says that a limit far below keeps its queue from ever being
	// empty; no other may be taken for that.
	saturates bool
}

func shapes() []shape {
	return []shape{
		{name: "1 thread, always busy", slow: true, class: Steady, works: []string{"duty run=10s sleep=0 seed=S"}},
		{name: "1 thread, 50 on, 150 off", class: Steady, works: []string{"duty run=50ms sleep=150ms seed=S"}},
		{name: "1 thread, 200 on, 300 off", class: Steady, works: []string{"duty run=200ms sleep=300ms seed=S"}, long: true},
		{name: "1 thread, 500 on, 500 off", class: Steady, works: []string{"duty run=500ms sleep=500ms seed=S"}, long: true},
		{name: "1 thread, 30 on, 120 off", class: Steady, works: []string{"duty run=30ms sleep=120ms seed=S"}, long: true},
		{name: "1 thread, 10 on, 90 off", class: Short, works: []string{"duty run=10ms sleep=90ms seed=S"}},
		{name: "1 thread, 4 on, 40 off", class: Short, works: []string{"duty run=4ms sleep=40ms seed=S"}, long: true},
		{name: "2 threads, 35 ms each, every 0.7 s", class: Steady, works: []string{"together threads=2 work=35ms period=700ms jitter=350ms seed=S"}, cpus: 2},
		{name: "4 threads, 20 ms each, every s", slow: true, class: Steady, works: []string{"together threads=4 work=20ms period=1s jitter=200ms seed=S"}, cpus: 4},
		{name: "4 threads, 80 ms each, every s", class: Steady, works: []string{"together threads=4 work=80ms period=1s jitter=200ms seed=S"}, cpus: 4, long: true},
		{name: "4 threads, 40 ms each, every 0.3 s", class: Steady, works: []string{"together threads=4 work=40ms period=300ms jitter=60ms seed=S"}, cpus: 4, long: true},
		{name: "8 threads, 15 ms each, every 0.4 s", class: Steady, works: []string{"together threads=8 work=15ms period=400ms jitter=100ms seed=S"}, cpus: 4, long: true},
		{
			name: "pauses of 8 x 30 ms every 2 s beside 5 %", class: Steady, slow: true, cpus: 4,
			works: []string{"together threads=8 work=30ms period=2s jitter=200ms seed=S", "duty run=5ms sleep=95ms seed=S"},
		},
		{
			name: "pauses of 4 x 50 ms every 3 s beside 20 %", class: Steady, cpus: 4, long: true,
			works: []string{"together threads=4 work=50ms period=3s jitter=500ms seed=S", "duty run=20ms sleep=80ms seed=S"},
		},
		{
			name: "boot of 2 x 5 s, then 2 %", class: Steady, slow: true, boot: true, cpus: 2,
			works: []string{"together threads=2 work=5s period=24h jitter=0 seed=S", "duty run=10ms sleep=490ms seed=S"},
		},
		{
			name: "boot of 8 s, then 5 %", class: Steady, boot: true, long: true,
			works: []string{"together threads=1 work=8s period=24h jitter=0 seed=S", "duty run=5ms sleep=95ms seed=S"},
		},
		{name: "4 threads, 20 requests/s of 10 ms", slow: true, class: Pool, works: []string{"pool threads=4 rate=20 work=10ms seed=S"}, cpus: 4, saturates: true},
		{name: "4 threads, 30 requests/s of 8 ms", class: Pool, works: []string{"pool threads=4 rate=30 work=8ms seed=S"}, cpus: 4, saturates: true, long: true},
		{name: "8 threads, 5 requests/s of 60 ms, heavy tail", slow: true, class: Pool, works: []string{"pool threads=8 rate=5 work=60ms dist=pareto seed=S"}, cpus: 4},
		{name: "2 threads, 4 requests/s of 80 ms, heavy tail", class: Pool, works: []string{"pool threads=2 rate=4 work=80ms dist=pareto seed=S"}, cpus: 2},
		{name: "16 threads, 8 requests/s of 40 ms", class: Pool, works: []string{"pool threads=16 rate=8 work=40ms seed=S"}, cpus: 4, long: true},
		{name: "4 threads, 100 requests/s of 5 ms", slow: true, class: Pool, works: []string{"pool threads=4 rate=100 work=5ms seed=S"}, cpus: 4, saturates: true},
	}
}

// The seeds: of the window under a limit that is too low, and of the one after
// the hint was applied.
const (
	limitedSeed = 1
	appliedSeed = 2
	// warmUp passes before anything is looked at, but with a boot.
	warmUp = 2 * time.Second
)

// run starts the shape in a container, which has its limit.
func (s shape) run(c *container, seed int) {
	c.t.Helper()
	works := make([]string, len(s.works))
	for i, line := range s.works {
		works[i] = strings.ReplaceAll(line, "seed=S", fmt.Sprintf("seed=%d", seed))
	}
	c.start(works)
	if !s.boot {
		time.Sleep(warmUp)
	}
}

// TestCPULimits holds hints made of one window against the smallest limit that
// would have been enough.
func TestCPULimits(t *testing.T) {
	parent := pods(t)
	shares := []float64{0.4, 0.75}
	switch {
	case long.Asked():
		shares = []float64{0.25, 0.5, 0.75, 0.9}
	case !instructionClock():
		shares = shares[:1]
	}
	t.Log(machine())
	for i, s := range shapes() {
		t.Run(strings.NewReplacer(" ", "-", "/", " per ").Replace(s.name), func(t *testing.T) {
			if s.long || s.slow && !instructionClock() {
				long.Only(t, "takes minutes")
			}
			if s.cpus > runtime.NumCPU() {
				t.Skipf("needs %d CPUs", s.cpus)
			}
			e := &experiment{t: t, shape: s, parent: parent, prefix: fmt.Sprintf("shape%d", i)}
			e.search()
			for _, share := range shares {
				e.hint(share, true)
				if long.Asked() || share == shares[0] {
					e.hint(share, false)
				}
			}
		})
	}
}

// experiment is one shape's.
type experiment struct {
	t      *testing.T
	shape  shape
	parent string
	prefix string
	made   int
	enough float64 // L*: see search
}

func (e *experiment) container(limit float64) *container {
	e.t.Helper()
	e.made++
	c := newContainer(e.t, e.parent, fmt.Sprintf("%s-%d", e.prefix, e.made))
	if limit > 0 {
		c.limitCPU(limit)
	}
	return c
}

// search finds the smallest limit under which at most 1 % of the periods are
// throttled, in each of the two minutes that there are: of requests at random one
// may need a good deal more than the other.
func (e *experiment) search() {
	e.t.Helper()
	n, free := newNode(e.t, false), e.container(0)
	e.shape.run(free, limitedSeed)
	n.window(free)
	free.stop()
	most := 1.05 * float64(runtime.NumCPU())
	window := n.newestWindow(free)
	tried := []string{}
	enough := func(seed int) func(float64) bool {
		return func(limit float64) bool {
			c := e.container(limit)
			e.shape.run(c, seed)
			before := c.counts()
			time.Sleep(time.Minute)
			throttled, _ := c.since(before)
			c.remove()
			tried = append(tried, fmt.Sprintf("minute %d: %.3f: %.1f %%", seed, limit, 100*throttled))
			return throttled <= target
		}
	}
	e.enough = smallest(window.NeedCores/1.1, 0.5*window.UsedCores, most, enough(limitedSeed))
	e.enough = smallest(e.enough, e.enough, most, enough(appliedSeed))
	e.t.Logf("uses %.3f cores, a window without a limit asks for %.3f; L* is %.3f (%s)",
		window.UsedCores, window.NeedCores, e.enough, strings.Join(tried, ", "))
}

// hint lets the shape run under a share of L*, applies the hint, and looks at
// the next window.
func (e *experiment) hint(share float64, exact bool) {
	t := e.t
	t.Helper()
	n, c := newNode(t, exact), e.container(share*e.enough)
	row := Row{Machine: machine(), Exact: exact, Shape: e.shape.name, Class: e.shape.class, Enough: e.enough, Share: share}
	e.shape.run(c, limitedSeed)
	before := c.counts()
	hint := n.window(c)
	row.Before, _ = c.since(before)
	if hint == nil || !hint.CPULimitCores.Known {
		t.Errorf("%.2f of L*: no hint: %+v", share, hint)
		return
	}
	if got := n.newestWindow(c).Exact; got != exact {
		t.Errorf("%.2f of L*: records are the kernel's: %t, want %t", share, got, exact)
	}
	window := &Recorded{
		Machine: row.Machine, Shape: row.Shape, Class: row.Class, Exact: exact, Enough: row.Enough, Share: share, Records: *n.records,
	}
	t.Log(window.Line())
	row.Hint, row.Confidence = hint.CPULimitCores.V/e.enough, hint.Confidence
	if has(hint, snapshot.ReasonCPUSaturated) {
		if !e.shape.saturates {
			t.Errorf("%.2f of L*: taken for saturated", share)
		}
		row.Class = Saturated
	}
	t.Logf("%.2f of L*: %.1f %% of periods throttled; hint %.3f%s", share, 100*row.Before, hint.CPULimitCores.V, sentences(hint))
	c.stop()
	c.limitCPU(hint.CPULimitCores.V)
	e.shape.run(c, appliedSeed)
	before = c.counts()
	hint = n.window(c)
	row.After, row.Slowdown = c.since(before)
	if hint == nil || !hint.CPULimitCores.Known {
		t.Errorf("%.2f of L*: no hint any more: %+v", share, hint)
		return
	}
	window.Applied, window.Records = true, *n.records
	t.Log(window.Line())
	asked := n.asked(c)
	row.Newest, row.Published = asked.CPULimitCores.V/e.enough, hint.CPULimitCores.V/e.enough
	c.remove()
	tell(t, row)
	if missed := row.Misses(); len(missed) > 0 || math.IsNaN(row.Hint) {
		t.Errorf("%.2f of L* = %.3f: %s", share, e.enough, strings.Join(missed, ", "))
	}
}
