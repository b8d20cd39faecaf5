// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/history"
)

// TestWindowFindsTheLimit plays shapes under limits that are too low and holds
// what one window says of them against the smallest limit that would do.
func TestWindowFindsTheLimit(t *testing.T) {
	for _, class := range []struct {
		shapes                       []shape
		mostExact, mostPolled, least float64
		saturates                    bool // under some of the limits
	}{
		{singleShapes(), 1.45, 1.50, 0.99, false},
		{mergingShapes(), 2.2, 2.2, 0.99, true},
		{poolShapes(), 2.75, 2.75, 0.85, true},
	} {
		for _, s := range class.shapes {
			smallest := s.smallest(1)
			for _, from := range []float64{0.25, 0.5, 0.75, 0.9} {
				t.Run(fmt.Sprintf("%s from %.2f", s.name, from), func(t *testing.T) {
					exact, polled := s.run(from*smallest, 3, 40)
					if !class.saturates && (exact.Window().Saturated || polled.Window().Saturated) {
						t.Error("taken for saturated")
					}
					holds(t, s, "exact", exact.Window(), smallest, class.least, class.mostExact)
					holds(t, s, "polled", polled.Window(), smallest, class.least, class.mostPolled)
				})
			}
		}
	}
}

// Polls that come right after the beginning of a period, or before its end, have
// parts of two: the rest of some work is in the poll after, or its beginning in the
// one before. Short turns of a thread are then told apart least.
func TestWindowFindsTheLimitWheneverPolled(t *testing.T) {
	const least, most = 0.99, 1.7
	for _, s := range singleShapes() {
		smallest := s.smallest(1)
		for _, from := range []float64{0.25, 0.4, 0.5, 0.75, 0.9} {
			t.Run(fmt.Sprintf("%s from %.2f", s.name, from), func(t *testing.T) {
				for phase := 3; phase < period; phase += 8 {
					_, polled := s.run(from*smallest, 3, phase)
					holds(t, s, fmt.Sprintf("polled at %d", phase), polled.Window(), smallest, least, most)
				}
			})
		}
	}
}

func holds(t *testing.T, s shape, how string, w history.Window, smallest, least, most float64) {
	t.Helper()
	if !w.OverTarget() {
		return // this seed happened to fit; nothing was asked for
	}
	after, _ := s.run(w.NeedCores, 4, 40)
	ratio := w.NeedCores / smallest
	t.Logf("%s: %.2f x %.3f, then %.1f%% throttled; saturated %t, concurrency %.1f, burst %.0f ms",
		how, ratio, smallest, 100*after.share(), w.Saturated, w.Concurrency, 1000*w.BurstSeconds)
	if after.share() > 0.015 {
		t.Errorf("%s: under the hint %.1f%% of the periods are throttled", how, 100*after.share())
	}
	if ratio < least {
		t.Errorf("%s: %.2f of the smallest sufficient limit, less than %.2f", how, ratio, least)
	}
	second := after.Window()
	switch {
	case w.Saturated:
		ratio = second.NeedCores / smallest // the demand shows only now
		most = 1.25
	case second.NeedCores > 1.25*smallest:
		t.Errorf("%s: %.2f of the smallest sufficient limit after the second window", how, second.NeedCores/smallest)
	}
	if ratio > most {
		t.Errorf("%s: %.2f of the smallest sufficient limit, more than %.2f", how, ratio, most)
	}
}

func TestWindowWithoutRecords(t *testing.T) {
	start := time.Unix(0, 0)
	for name, records := range map[string]Records{
		"none":        {Start: start, End: start.Add(time.Minute), Length: PollEvery},
		"no length":   {Start: start, End: start.Add(time.Minute), Periods: []Period{{Used: 1}}},
		"no duration": {Start: start, End: start, Length: PollEvery, Periods: []Period{{Used: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			if w := records.Window(); w.Periods != 0 || w.NeedCores != 0 {
				t.Errorf("got %+v, want nothing", w)
			}
		})
	}
}

func TestPolls(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * PollEvery) }
	var p Polls
	p.Begin(start, Counters{Usage: time.Second, Periods: 10, ThrottledPeriods: 2, Throttled: time.Second}, 0.5, 4)
	steps := []struct {
		at   int
		now  Counters
		want bool
	}{
		{1, Counters{Usage: time.Second + 50*time.Millisecond, Periods: 11, ThrottledPeriods: 3, Throttled: time.Second}, true},
		{2, Counters{Usage: time.Second + 50*time.Millisecond, Periods: 11, ThrottledPeriods: 3, Throttled: time.Second}, true}, // idle
		{4, Counters{Usage: time.Second + 90*time.Millisecond, Periods: 13, ThrottledPeriods: 3, Throttled: time.Second}, true}, // late
		{4, Counters{Usage: 2 * time.Second, Periods: 14, ThrottledPeriods: 3, Throttled: time.Second}, false},                  // no time passed
		{5, Counters{Usage: 0}, false}, // another cgroup
	}
	for i, s := range steps {
		if got := p.Add(at(s.at), s.now); got != s.want {
			t.Errorf("step %d: taken in: %t, want %t", i, got, s.want)
		}
	}
	r := p.Records(3)
	want := []Period{
		{Index: 0, Used: 50 * time.Millisecond, Throttled: true},
		{Index: 2, Used: 20 * time.Millisecond},
		{Index: 3, Used: 20 * time.Millisecond},
	}
	if len(r.Periods) != len(want) {
		t.Fatalf("got %+v, want %+v", r.Periods, want)
	}
	for i := range want {
		if r.Periods[i] != want[i] {
			t.Errorf("record %d: got %+v, want %+v", i, r.Periods[i], want[i])
		}
	}
	if r.NrPeriods != 3 || r.NrThrottled != 1 || r.Threads != 3 || !r.End.Equal(at(4)) {
		t.Errorf("got %+v", r)
	}
}

func TestPollsAreBounded(t *testing.T) {
	var p Polls
	p.Begin(time.Unix(0, 0), Counters{}, 0.5, 4)
	if p.Add(time.Unix(3600, 0), Counters{Usage: time.Hour, Periods: 36000}) {
		t.Error("took in more polls than it may hold")
	}
}

// What starts on four CPUs and goes on with two for seconds wants four for less than
// a hundredth of the periods, if the kernel counted enough of them: also such as
// nothing ran in.
func TestStartIsNotTheWholeBurst(t *testing.T) {
	const ms = time.Millisecond
	r := Records{
		Start: time.Unix(0, 0), End: time.Unix(60, 0), QuotaCores: 0.8, Length: PollEvery, CPUs: 4, Threads: 8, Exact: true,
	}
	for i := range 55 {
		p := Period{Index: i, Used: 80 * ms, Throttled: true, Stall: 120 * ms, Held: 60 * ms, CPUs: 2, Runnable: 2}
		if i < 6 {
			p.Stall, p.Held, p.CPUs, p.Runnable = 320*ms, 80*ms, 4, 4
		}
		r.Periods = append(r.Periods, p)
	}
	for i := range 110 {
		r.Periods = append(r.Periods, Period{Index: 60 + 4*i, Used: 5 * ms})
	}
	for _, c := range []struct {
		counted     int
		least, most float64
	}{
		{len(r.Periods), 4, 4.2},
		{len(r.Periods) + 100, 2, 3.5},
	} {
		r.NrPeriods, r.NrThrottled = c.counted, 55
		w := r.Window()
		if w.NeedCores < c.least || w.NeedCores > c.most {
			t.Errorf("of %d periods: it needs %.2f cores (%s), want %.1f to %.1f", c.counted, w.NeedCores, w.Basis, c.least, c.most)
		}
	}
}

// Four CPUs for less than a period are one period's, in which two had the rest of
// it; a thread that comes beside two busy ones needs what it uses without them, too.
func TestStartOfLessThanAPeriod(t *testing.T) {
	const ms = time.Millisecond
	r := Records{QuotaCores: 0.8, Length: PollEvery, CPUs: 4, Threads: 8, Exact: true}
	for i := range 20 {
		p := Period{Index: i, Used: 80 * ms, Throttled: true, Stall: 120 * ms, Held: 60 * ms, CPUs: 2, Runnable: 2}
		switch {
		case i < 2: // four CPUs
			p.Stall, p.Held, p.CPUs, p.Runnable = 320*ms, 80*ms, 4, 4
		case i == 8: // the quota burns as if on three
			p.Held = 72 * ms
		case i == 14:
			p.Stall, p.Runnable = 140*ms, 3
		}
		r.Periods = append(r.Periods, p)
	}
	for i := range 30 {
		r.Periods = append(r.Periods, Period{Index: 60 + 4*i, Used: 8 * ms})
	}
	var got []string
	for _, b := range r.bursts() {
		got = append(got, fmt.Sprintf("%.2f for %.0f", b.need(), b.length()))
	}
	// The first: 1.6 / 4 of a period on four, the rest of it on two.
	if diff := cmp.Diff([]string{"2.80 for 1", "2.00 for 3", "2.00 for 1", "2.08 for 4"}, got); diff != "" {
		t.Errorf("needs of bursts (-want +got):\n%s", diff)
	}
}
