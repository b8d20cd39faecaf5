// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// scripted gives what it is told for each hour since the trace began, and holds
// that it is never shown what lies ahead.
type scripted struct {
	t      *testing.T
	advice func(hour int) (Advice, bool)
	seen   time.Time
	killed []float64
	raised float64
}

func (s *scripted) Observe(at time.Time, _ float64) { s.seen = at }
func (s *scripted) OOMKilled(_ time.Time, lim float64) {
	s.killed, s.raised = append(s.killed, lim), 2*lim
}

func (s *scripted) Advise(at time.Time, _ float64) (Advice, bool) {
	if s.seen.After(at) {
		s.t.Errorf("asked at %v, it has seen %v", at, s.seen)
	}
	advice, ok := s.advice(int(at.Sub(began) / time.Hour))
	advice.Value = max(advice.Value, s.raised)
	return advice, ok
}

// hours is a trace of one value an hour.
func hours(n int, value func(hour int) float64) Trace {
	var t Trace
	for i := range n {
		t.Points = append(t.Points, Point{At: began.Add(time.Duration(i) * time.Hour), Value: value(i)})
	}
	return t
}

func TestWalkCPU(t *testing.T) {
	for _, test := range []struct {
		name   string
		use    func(hour int) float64
		advice func(hour int) (Advice, bool)
		want   CPUScore
	}{
		{
			name: "slack", use: func(int) float64 { return 1 },
			advice: func(int) (Advice, bool) { return Advice{Value: 3}, true },
			want:   CPUScore{Hours: 72, UsedHours: 72, SlackHours: 144},
		},
		{
			name: "shortage", use: func(int) float64 { return 2 },
			advice: func(int) (Advice, bool) { return Advice{Value: 1.5}, true },
			want:   CPUScore{Hours: 72, UsedHours: 144, ShortageHours: 36, AboveHours: 72},
		},
		{
			// Advised at 30 h; that of 0 h is held until 24 h, then for a day.
			name: "held a day", use: func(int) float64 { return 1 },
			advice: func(hour int) (Advice, bool) {
				if hour >= 30 {
					return Advice{Value: 2}, true
				}
				return Advice{Value: 1}, true
			},
			want: CPUScore{Hours: 72, UsedHours: 72, SlackHours: 48, Changes: 1},
		},
		{
			name: "urgent", use: func(int) float64 { return 1 },
			advice: func(hour int) (Advice, bool) {
				if hour >= 30 {
					return Advice{Value: 2, Urgent: true}, true
				}
				return Advice{Value: 1}, true
			},
			want: CPUScore{Hours: 72, UsedHours: 72, SlackHours: 66, Changes: 1},
		},
		{
			name: "nothing to say", use: func(int) float64 { return 1 },
			advice: func(int) (Advice, bool) { return Advice{}, false },
			want:   CPUScore{Hours: 72, UsedHours: 72, ShortageHours: 72, AboveHours: 72},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			// 97 points are four days, of which the first is for warming up.
			got := WalkCPU(hours(97, test.use), &scripted{t: t, advice: test.advice})
			got.Requests = nil
			test.want.Hours++ // the last point stands for a step
			test.want.UsedHours += test.use(96)
			last, _ := test.advice(96)
			test.want.SlackHours += max(0, last.Value-test.use(96))
			test.want.ShortageHours += max(0, test.use(96)-last.Value)
			if test.use(96) > last.Value {
				test.want.AboveHours++
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCost95IsLeastAtThe95thPercentile(t *testing.T) {
	use := func(hour int) float64 { return float64(hour%100) / 100 }
	cost := func(request float64) float64 {
		return WalkCPU(hours(1000, use), &scripted{t: t, advice: func(int) (Advice, bool) { return Advice{Value: request}, true }}).Cost95()
	}
	at95 := cost(0.95)
	for _, other := range []float64{0.8, 0.9, 0.93, 0.97, 0.99} {
		if c := cost(other); c <= at95 {
			t.Errorf("%v costs %v, the 95th percentile %v", other, c, at95)
		}
	}
}

func TestWalkMemory(t *testing.T) {
	use := func(hour int) float64 {
		if hour == 50 {
			return 500
		}
		return 100
	}
	r := &scripted{t: t, advice: func(int) (Advice, bool) { return Advice{Value: 150}, true }}
	score := WalkMemory(hours(97, use), r)
	// 150 is too little for 500, so is 300; 600 is not.
	if diff := cmp.Diff([]float64{150, 300}, r.killed); diff != "" || score.Kills != 2 {
		t.Errorf("%d kills: %s", score.Kills, diff)
	}
	if want := (26*150.0 + 47*600.0) / 73; math.Abs(score.MeanLimit-want) > 1e-9 {
		t.Errorf("mean limit %v, want %v", score.MeanLimit, want)
	}
	if want := (72*100.0 + 500) / 73; math.Abs(score.MeanUsed-want) > 1e-9 {
		t.Errorf("mean use %v, want %v", score.MeanUsed, want)
	}
}

func TestGapsAreNobodysUse(t *testing.T) {
	trace := hours(97, func(int) float64 { return 1 })
	for i := 60; i < len(trace.Points); i++ {
		trace.Points[i].At = trace.Points[i].At.Add(100 * time.Hour)
	}
	score := WalkCPU(trace, &scripted{t: t, advice: func(int) (Advice, bool) { return Advice{Value: 1}, true }})
	if want := 97 - 24 + 2.0; score.Hours != want {
		t.Errorf("%v hours were judged, want %v", score.Hours, want)
	}
}

// How often hints change is told of all traces, not of the worst alone.
func TestChangesAreCounted(t *testing.T) {
	var results []Result[CPUScore]
	for i, changes := range []int{0, 3, 4, 10, 8} {
		trace := hours(14*24, func(int) float64 { return 1 })
		if i == 4 {
			trace = hours(28*24, func(int) float64 { return 1 }) // 4 in 14 days
		}
		trace.Name = string(rune('a' + i))
		score := CPUScore{Hours: 1, UsedHours: 1, SlackHours: 1, Changes: changes}
		results = append(results, Result[CPUScore]{Trace: trace, Scores: []CPUScore{score, score}})
	}
	got := GoalsOfCPU(results)
	if got.MostChanges != 10 || got.MostChangesTrace != "d" || got.TooMany != 3 {
		t.Errorf("most %g on %s, too many on %d", got.MostChanges, got.MostChangesTrace, got.TooMany)
	}
}
