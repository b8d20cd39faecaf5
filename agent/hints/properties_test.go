// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// life is a random history that can be played with more or less use.
type life struct {
	cores, memory []float64
	step          time.Duration
	windows       []history.Window
	oomAt         int // sample; none if beyond the last
	oomLimit      float64
	settings      Settings
}

func lives() *rapid.Generator[life] {
	return rapid.Custom(func(t *rapid.T) life {
		n := rapid.IntRange(1, 300).Draw(t, "samples")
		l := life{
			cores:  rapid.SliceOfN(rapid.Float64Range(0, 8), n, n).Draw(t, "cores"),
			memory: rapid.SliceOfN(rapid.Float64Range(mi, 4096*mi), n, n).Draw(t, "memory"),
			step:   time.Duration(rapid.IntRange(1, 7200).Draw(t, "step")) * time.Second,
			oomAt:  rapid.IntRange(0, 600).Draw(t, "oom"), oomLimit: rapid.Float64Range(mi, 4096*mi).Draw(t, "limit"),
			settings: Settings{Policy: rapid.SampledFrom(Policies()).Draw(t, "policy"), CPUHeadroom: rapid.Float64Range(1, 2).Draw(t, "headroom")},
		}
		for i := range rapid.IntRange(0, 20).Draw(t, "windows") {
			w := history.Window{Start: epoch.Add(time.Duration(i) * time.Minute), Periods: 600}
			w.End = w.Start.Add(time.Minute)
			w.QuotaCores = rapid.Float64Range(0, 4).Draw(t, "quota")
			w.Throttled = rapid.IntRange(0, 600).Draw(t, "throttled")
			w.NeedCores = rapid.Float64Range(0.01, 8).Draw(t, "need")
			w.UsedCores = rapid.Float64Range(0, 4).Draw(t, "used")
			l.windows = append(l.windows, w)
		}
		return l
	})
}

func (l life) play(factor float64) (*history.Series, time.Time) {
	s := begin()
	for _, w := range l.windows {
		s.AddWindow(w)
	}
	for i := range l.cores {
		s.now = s.now.Add(l.step)
		s.Add(history.Sample{At: s.now, Elapsed: l.step, CPUCores: history.Known(l.cores[i] * factor), WorkingSetBytes: history.Known(l.memory[i] * factor)})
		if i == l.oomAt {
			s.killed(history.OOMContainer, l.oomLimit)
		}
	}
	return s.Series, s.now
}

// More use never lowers a request or a limit. Which span was cheapest may change
// where two were as good, as amounts fall into buckets: those are not compared.
func TestMoreUseNeverLowersAHint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, factor := lives().Draw(t, "life"), rapid.Float64Range(1, 20).Draw(t, "factor")
		series, at := l.play(1)
		less, span := Compute(series, Facts{}, l.settings, at), series.Demand().Cheapest
		series, at = l.play(factor)
		more := Compute(series, Facts{}, l.settings, at)
		if series.Demand().Cheapest != span {
			return
		}
		for name, pair := range map[string][2]snapshot.Quantity{
			"CPU request": {less.CPURequestCores, more.CPURequestCores}, "CPU limit": {less.CPULimitCores, more.CPULimitCores},
			"memory request": {less.MemoryRequestBytes, more.MemoryRequestBytes}, "memory limit": {less.MemoryLimitBytes, more.MemoryLimitBytes},
		} {
			if pair[0].Known && (!pair[1].Known || pair[1].V < pair[0].V-1e-9) {
				t.Errorf("%s: %v with %.2f x the use, %v before", name, pair[1], factor, pair[0])
			}
		}
	})
}

// Every amount is a whole number of steps and at least one, no limit is below
// its request, memory is never below what was used, and the policies hold.
func TestAmountsHoldTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lives().Draw(t, "life")
		series, at := l.play(1)
		h := Advise(series, Facts{}, l.settings, at)
		whole := func(q snapshot.Quantity, step float64) bool {
			return !q.Known || q.V >= step-1e-9 && math.Abs(q.V/step-math.Round(q.V/step)) < 1e-6
		}
		if !whole(h.CPURequestCores, cpuStepCores) || !whole(h.CPULimitCores, cpuStepCores) ||
			!whole(h.MemoryRequestBytes, memoryStepBytes) || !whole(h.MemoryLimitBytes, memoryStepBytes) {
			t.Errorf("not in whole steps: %s", describe(h))
		}
		if h.CPULimitCores.Known && h.CPULimitCores.V < h.CPURequestCores.V || h.MemoryLimitBytes.V < h.MemoryRequestBytes.V {
			t.Errorf("a limit below its request: %s", describe(h))
		}
		if peak := series.Peaks(at).Peak; h.MemoryRequestBytes.V < peak {
			t.Errorf("memory request below the peak of %s: %s", bytes(peak), describe(h))
		}
		if h.CPURequestCores.Known {
			checkPolicy(t, h)
		}
		if h.Confidence < 0 || h.Confidence > 1 || len(h.Reasons) == 0 {
			t.Errorf("confidence %f with %d reasons", h.Confidence, len(h.Reasons))
		}
	})
}

func checkPolicy(t *rapid.T, h snapshot.Hint) {
	ok := true
	switch Policy(h.Policy) {
	case Burstable:
		ok = h.CPULimitCores.V >= 2*h.CPURequestCores.V-2*cpuStepCores && h.MemoryLimitBytes.V >= 2*h.MemoryRequestBytes.V-2*memoryStepBytes
	case Guaranteed:
		ok = h.CPULimitCores == h.CPURequestCores && h.MemoryLimitBytes == h.MemoryRequestBytes
	case NoCPULimit:
		ok = h.NoCPULimit && !h.CPULimitCores.Known && h.MemoryLimitBytes == h.MemoryRequestBytes
	}
	if !ok {
		t.Errorf("not what the policy wants: %s", describe(h))
	}
}

// No amount is above what the node has, which is seldom a whole number of steps,
// nor is one that was published when the node had more.
func TestNoHintIsAboveTheNode(t *testing.T) {
	for _, policy := range Policies() {
		for _, node := range [][2]float64{{3.997, 4000 * mi}, {2, 4096 * mi}, {1.2345, 1777777777}, {0.001, 1}} {
			s := begin().uses(2*day, 3.9, 3900*mi)
			facts := limits(0.25, 0.5, 256*mi, 512*mi)
			Advise(s.Series, facts, Settings{Policy: policy}, s.now)
			s.uses(time.Hour, 3.9, 3900*mi).window(func(w *history.Window) { throttled(w); w.NeedCores = 6 })
			facts.NodeCPUs, facts.NodeMemoryBytes = amount(node[0]), amount(node[1])
			for range 2 {
				h := Advise(s.Series, facts, Settings{Policy: policy}, s.now)
				cpus, memory := max(node[0], cpuStepCores), max(node[1], memoryStepBytes)
				if h.CPURequestCores.V > cpus || h.CPULimitCores.V > cpus || h.MemoryRequestBytes.V > memory || h.MemoryLimitBytes.V > memory {
					t.Errorf("on a node of %g cores and %s: %s", node[0], bytes(node[1]), describe(h))
				}
				recomputable(t, h)
				s.uses(2*day, 3.9, 3900*mi)
			}
		}
	}
}

// What only the node bounds is no haste: nothing is left to be done about it.
func TestNodeCapIsNoHaste(t *testing.T) {
	for name, s := range map[string]*story{
		"killed":    begin().uses(day, 0.1, 900*mi).killed(history.OOMContainer, 1000*mi).killed(history.OOMContainer, 1000*mi),
		"strained":  strained(func(s *history.Sample) { s.MemoryPressure = history.Known(0.18) }),
		"throttled": begin().uses(day, 0.2, 100*mi).window(func(w *history.Window) { throttled(w); w.NeedCores = 4.2 }),
	} {
		facts := limits(0.25, 1, 256*mi, 1008*mi)
		facts.NodeCPUs, facts.NodeMemoryBytes = amount(1), amount(1008*mi)
		if name == "strained" {
			facts.NodeMemoryBytes = amount(512 * mi)
		}
		Advise(s.Series, facts, Settings{Policy: NoCPULimit}, s.now)
		s.now = s.now.Add(5 * time.Minute)
		if h := Advise(s.Series, facts, Settings{Policy: NoCPULimit}, s.now); h.Urgent {
			t.Errorf("%s, with all that the node has: %s", name, describe(h))
		}
	}
}

// Without a limit there is none to suffer from, as after it was taken away.
func TestKilledUnderALimitThatIsGone(t *testing.T) {
	for limit, urgent := range map[float64]bool{512 * mi: true, 0: false} {
		s := begin().uses(day, 0.1, 500*mi).killed(history.OOMContainer, 512*mi)
		facts := limits(0.25, 0.5, 256*mi, limit)
		Advise(s.Series, facts, Settings{}, s.now)
		s.now = s.now.Add(time.Minute)
		if h := Advise(s.Series, facts, Settings{}, s.now); h.Urgent != urgent {
			t.Errorf("with a limit of %s: %s", bytes(limit), describe(h))
		}
	}
}

// What is idle has neither request nor limit for CPU, whatever was published when
// it was not, and whatever a window said; what works again has both.
func TestIdleHasNoCPUHint(t *testing.T) {
	lightly := func(s *story) { // 0.3 ms every 10 s
		for range 6 * 60 * 50 {
			s.seconds(9, 0).seconds(1, 0.0003)
		}
	}
	for name, play := range map[string]func(*story){
		"from the first sample":     func(s *story) { s.uses(5*time.Minute, 0, 100*mi) },
		"after a start":             func(s *story) { s.uses(5*time.Minute, 0.9, 100*mi).window(throttled).uses(50*time.Hour, 0, 100*mi) },
		"but for a timer":           lightly,
		"after a start, but for it": func(s *story) { s.uses(5*time.Minute, 0.9, 100*mi).window(throttled); lightly(s) },
	} {
		for _, policy := range Policies() {
			s := begin()
			s.uses(2*time.Minute, 0, 100*mi).window(func(w *history.Window) { w.NeedCores = 0.4 })
			play(s)
			plain := limits(0.25, 0.5, 256*mi, 512*mi)
			Advise(s.Series, plain, Settings{Policy: policy}, s.now.Add(-49*time.Hour))
			h := Advise(s.Series, plain, Settings{Policy: policy}, s.now)
			if h.CPURequestCores.Known || h.CPULimitCores.Known || h.NoCPULimit || h.Urgent || !strings.Contains(describe(h), "cpu cpu_idle: ") {
				t.Errorf("idle %s: %s", name, describe(h))
			}
			if !h.MemoryLimitBytes.Known {
				t.Errorf("idle %s: no memory limit: %s", name, describe(h))
			}
			s.uses(2*time.Minute, 0.2, 100*mi)
			if h := Advise(s.Series, plain, Settings{Policy: policy}, s.now); !h.CPURequestCores.Known || h.CPULimitCores.Known == h.NoCPULimit {
				t.Errorf("idle %s, at work again: %s", name, describe(h))
			}
		}
	}
}

// An agent that was not there for days does not take that for idleness.
func TestSilenceIsNotIdleness(t *testing.T) {
	s := begin().uses(3*day, 0.2, 100*mi)
	s.now = s.now.Add(5 * day)
	s.uses(6*time.Hour, 0, 100*mi)
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); !h.CPURequestCores.Known {
		t.Errorf("no hint after five days that nobody saw: %s", describe(h))
	}
}

// A published hint stands for a day unless something urgent happens.
func TestHeldForADay(t *testing.T) {
	s := begin().uses(3*day, 0.2, 100*mi)
	first := Advise(s.Series, Facts{}, Settings{}, s.now)
	for range 23 {
		s.uses(time.Hour, 0.19, 120*mi)
		h := Advise(s.Series, Facts{}, Settings{}, s.now)
		if diff := cmp.Diff(first.MemoryLimitBytes, h.MemoryLimitBytes); diff != "" || !h.Published.Equal(first.Published) {
			t.Fatalf("changed within a day:\n%s", describe(h))
		}
	}
	s.uses(2*time.Hour, 0.19, 120*mi)
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.MemoryLimitBytes.V <= first.MemoryLimitBytes.V {
		t.Errorf("after a day the limit is still %s", bytes(h.MemoryLimitBytes.V))
	}
}

// A level that rises is followed within about an hour.
func TestRaisedAtOnceWhenUseStaysAbove(t *testing.T) {
	s := begin().uses(3*day, 0.2, 100*mi)
	Advise(s.Series, Facts{}, Settings{}, s.now)
	s.uses(20*time.Minute, 0.9, 100*mi)
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPURequestCores.V > 0.3 {
		t.Errorf("raised after 20 minutes: %s", describe(h))
	}
	s.uses(70*time.Minute, 0.9, 100*mi)
	h := Advise(s.Series, Facts{}, Settings{}, s.now)
	if h.CPURequestCores.V < 0.9 || !h.Urgent {
		t.Errorf("not raised after 90 minutes: %s", describe(h))
	}
}

// Where the busy and the idle time cost about the same as requests, the one that
// stands stays; a level that fell is followed.
func TestHeldWhereBothCostTheSame(t *testing.T) {
	edge := func(s *story) {
		busy := time.Duration(68+8*(s.now.YearDay()%2)) * time.Minute // around 5 % of the day
		s.uses(6*time.Hour, 0.02, 100*mi).uses(busy, 0.5, 100*mi).uses(18*time.Hour-busy, 0.02, 100*mi)
	}
	steady := func(s *story) { s.uses(day, 0.2, 100*mi) }
	tests := []struct {
		name          string
		before, later func(s *story)
		changes       int
	}{
		{"busy for about 5 % of the time", edge, edge, 0},
		{"steady", steady, steady, 0},
		{"half of it", steady, func(s *story) { s.uses(day, 0.1, 100*mi) }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			tt.before(s)
			last := Advise(s.Series, Facts{}, Settings{}, s.now)
			changes := 0
			for range 10 {
				tt.later(s)
				h := Advise(s.Series, Facts{}, Settings{}, s.now)
				if h.CPURequestCores != last.CPURequestCores {
					changes++
				}
				last = h
			}
			if changes != tt.changes {
				t.Errorf("%d changes, want %d: %s", changes, tt.changes, describe(last))
			}
		})
	}
}

// A window that ended just before the first hint was published, and was taken in
// after that, still raises it.
func TestWindowThatComesLate(t *testing.T) {
	s := begin().uses(10*time.Minute, 0.1, 100*mi)
	ended := s.now.Add(-time.Second)
	first := Advise(s.Series, Facts{}, Settings{}, s.now)
	s.window(func(w *history.Window) {
		throttled(w)
		w.Start, w.End, w.NeedCores = ended.Add(-time.Minute), ended, 1.2
	})
	if h := Advise(s.Series, Facts{}, Settings{}, ended.Add(2*time.Second)); h.CPULimitCores.V != 1.2 || first.CPULimitCores.V > 0.5 {
		t.Errorf("not raised from %g: %s", first.CPULimitCores.V, describe(h))
	}
}

// So is what a limit that throttles let see, if it is off by more than windows
// always are.
func TestGuessIsCorrected(t *testing.T) {
	for need, want := range map[float64]float64{0.8: 0.8, 1.15: 1.2} {
		s := begin().uses(3*day, 0.2, 100*mi)
		s.window(func(w *history.Window) { throttled(w); w.NeedCores = 1.2 })
		if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPULimitCores.V != 1.2 {
			t.Fatalf("not what the window says: %s", describe(h))
		}
		s.window(func(w *history.Window) { w.QuotaCores, w.NeedCores = 1.2, need })
		if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPULimitCores.V != want {
			t.Errorf("a window that asks for %g: %s", need, describe(h))
		}
	}
}

// A guess that was confirmed is none any more: what is known later waits as usual.
func TestConfirmedGuessStands(t *testing.T) {
	s := begin().uses(3*day, 0.2, 100*mi)
	s.window(func(w *history.Window) { throttled(w); w.NeedCores = 1.2 })
	Advise(s.Series, Facts{}, Settings{}, s.now)
	s.window(func(w *history.Window) { w.QuotaCores, w.NeedCores = 1.2, 1.15 })
	Advise(s.Series, Facts{}, Settings{}, s.now)
	s.uses(2*time.Minute, 1.4, 100*mi)
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPULimitCores.V != 1.2 {
		t.Errorf("changed within the day: %s", describe(h))
	}
}

// Periods that are throttled for next to nothing are told, but are no haste.
func TestHarmlessThrottlingIsNotUrgent(t *testing.T) {
	for slowdown, urgent := range map[float64]bool{0.0002: false, 0.02: true} {
		s := begin().uses(3*day, 0.2, 100*mi)
		s.window(func(w *history.Window) { throttledBy(history.BasisRaise, w.QuotaCores, 1.25)(w); w.Slowdown = slowdown })
		h := Advise(s.Series, limits(0.5, 0.5, 256*mi, 256*mi), Settings{}, s.now)
		if h.Urgent != urgent || !strings.Contains(describe(h), "1.25 x the limit is enough: 625m") {
			t.Errorf("slowed by %g: %s", slowdown, describe(h))
		}
	}
}

// A saturated window's guess is corrected by the next window, also downwards.
func TestProvisionalLimitIsCorrected(t *testing.T) {
	s := begin().uses(3*day, 0.2, 100*mi)
	s.window(func(w *history.Window) { throttled(w); w.Saturated, w.NeedCores = true, 4.2 })
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPULimitCores.V < 4.2 {
		t.Fatalf("not what the window says: %s", describe(h))
	}
	s.window(func(w *history.Window) { w.QuotaCores, w.NeedCores = 4.2, 0.8 })
	if h := Advise(s.Series, Facts{}, Settings{}, s.now); h.CPULimitCores.V > 0.85 {
		t.Errorf("not corrected: %s", describe(h))
	}
}

func TestWords(t *testing.T) {
	tests := map[string]string{
		cores(0): "0m", cores(0.0026): "2.6m", cores(0.25): "250m", cores(4): "4000m",
		bytes(512 * mi): "512Mi", bytes(1.5 * 1024 * mi): "1.5Gi", bytes(100): "100", bytes(0): "0",
		percent(0.014): "1.4%", percent(0.5): "50%", days(1): "day", days(3.25): "3.25 days",
		duration(0): "0s", duration(59 * time.Second): "59s", duration(3*time.Hour + 59*time.Second): "3h", duration(50 * time.Hour): "2d2h",
		shorten("abcdef", 3): "abc…",
	}
	for got, want := range tests {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
