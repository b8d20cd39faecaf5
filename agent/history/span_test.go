// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// days fills a series with days of steady use each.
func days(s *Series, at time.Time, cores ...float64) time.Time {
	for _, c := range cores {
		at = fill(s, at, day, c, 1e8)
	}
	return at
}

func TestGrowth(t *testing.T) {
	tests := []struct {
		name  string
		days  []float64
		after time.Duration // and so much without samples
		want  float64
	}{
		{"nothing", nil, 0, 0},
		{"too few days", []float64{1, 1.1, 1.21}, 0, 0},
		{"a tenth more each day", []float64{1, 1.1, 1.21, 1.331}, 0, 0.1},
		{"the least of three", []float64{1, 1.5, 1.6, 2}, 0, 1.6/1.5 - 1},
		{"one day did not", []float64{1, 1.5, 1.5, 2}, 0, 0},
		{"a week end", []float64{1, 0.3, 0.3, 1, 1.01}, 0, 0},
		{"the last days are missing", []float64{1, 1.1, 1.21, 1.331}, 2 * day, 0},
		{"it fell again", []float64{1, 1.1, 1.21, 1.331, 1}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStore(Config{}).Series(web("app"), epoch)
			at := days(s, epoch, tt.days...)
			if tt.after > 0 {
				fill(s, at.Add(tt.after), time.Hour, 1, 1e8)
			}
			d := s.Demand()
			if diff := cmp.Diff(tt.want, d.Growth, cmpopts.EquateApprox(0.03, 0.001)); diff != "" {
				t.Errorf("growth (-want +got): %s", diff)
			}
			if want := math.Pow(1+d.Growth, 1.5); d.Ahead(Slow) != min(want, 1.5) || d.Ahead(Long) != 1 || d.Ahead(Fast) > d.Ahead(Slow) {
				t.Errorf("ahead by %v, %v, %v", d.Ahead(Slow), d.Ahead(Long), d.Ahead(Fast))
			}
		})
	}
}

func TestCheapestSpan(t *testing.T) {
	tests := []struct {
		name string
		play func(s *Series)
		want Span
	}{
		{"nothing", func(*Series) {}, Slow},
		{"less than a day", func(s *Series) { fill(s, fill(s, epoch, 12*time.Hour, 1, 1e8), 6*time.Hour, 0.1, 1e8) }, Slow},
		{"steady", func(s *Series) { days(s, epoch, 1, 1, 1, 1, 1) }, Slow},
		{"it fell three days ago", func(s *Series) { days(s, epoch, 1, 1, 1, 0.3, 0.3, 0.3) }, Fast},
		{"a crowd for half a day, days ago", func(s *Series) {
			at := days(s, epoch, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
			at = fill(s, at, 8*time.Hour, 2, 1e8)
			days(s, at, 0.1, 0.1, 0.1)
		}, Fast},
		{"an hour and a half each day", func(s *Series) {
			at := epoch
			for range 7 {
				at = fill(s, fill(s, fill(s, at, 6*time.Hour, 0.02, 1e8), 90*time.Minute, 0.5, 1e8), 16*time.Hour+30*time.Minute, 0.02, 1e8)
			}
		}, Long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStore(Config{}).Series(web("app"), epoch)
			tt.play(s)
			if d := s.Demand(); d.Cheapest != tt.want {
				t.Errorf("cheapest is %v, want %v: %+v", d.Cheapest, tt.want, d)
			}
		})
	}
}

func TestRequestCost(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	if _, ok := s.RequestCost(Slow, 1); ok {
		t.Error("a cost without any use")
	}
	days(s, epoch, 0.5)
	for request, want := range map[float64]float64{0.5: 0, 1: 0.05, 0.25: 0.475, 0: 0.95} {
		for span := range NumSpans {
			if got, ok := s.RequestCost(span, request); !ok || math.Abs(got-want) > 0.03 {
				t.Errorf("%v cores cost %v (%v) over %v, want about %v", request, got, ok, span, want)
			}
		}
	}
}

// What versions saved that looked back a day at most is read, and goes on.
func TestStateWithoutSpans(t *testing.T) {
	state, err := filled().AppendState(nil)
	if err != nil {
		t.Fatal(err)
	}
	var saved map[string]any
	if err := json.Unmarshal(state, &saved); err != nil {
		t.Fatal(err)
	}
	for _, one := range saved["series"].([]any) {
		cpu := one.(map[string]any)["cpu"].(map[string]any)
		for _, field := range []string{"Long", "Trial", "Days"} {
			if _, ok := cpu[field]; !ok {
				t.Fatalf("%s is not saved", field)
			}
			delete(cpu, field)
		}
		one.(map[string]any)["Published"].(map[string]any)["Raised"] = epoch
	}
	if state, err = json.Marshal(saved); err != nil {
		t.Fatal(err)
	}
	store := NewStore(Config{})
	if err := store.Load(state); err != nil {
		t.Fatal(err)
	}
	want := filled().Find(web("app")).Demand()
	want.Long, want.Costs, want.Growth, want.Cheapest = 0, [NumSpans]float64{}, 0, Slow
	got := store.Find(web("app")).Demand()
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0.001, 0)); diff != "" {
		t.Errorf("demand (-want +got): %s", diff)
	}
	s := store.Find(web("app"))
	fill(s, s.Last(), 3*day, 0.5, 1e8)
	if d := s.Demand(); d.Long < 0.49 || d.Costs[Slow] == 0 {
		t.Errorf("does not go on: %+v", d)
	}
}
