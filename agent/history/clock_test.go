// SPDX-License-Identifier: Apache-2.0

package history

import (
	"testing"
	"time"
	"unsafe"
)

func TestClockThatGoesBack(t *testing.T) {
	store := NewStore(Config{})
	store.Observe(epoch)
	s := store.Series(web("app"), epoch)
	at := fill(s, epoch, 2*day, 0.2, 1e8)
	store.Observe(at)
	back := at.Add(-365 * day)
	store.Observe(back)
	if got := store.Stats().ClockSteps; got != 1 {
		t.Errorf("%d clock steps", got)
	}
	if !s.Last().Equal(back) || s.Peaks(back).Peak != 1e8 {
		t.Errorf("not moved along: last %s, %+v", s.Last(), s.Peaks(back))
	}
	fill(s, back, 3*day, 0.6, 1e8) // must count as newer than what was before
	if d := s.Demand(); d.Slow < 0.59 {
		t.Errorf("what came after the step does not count: %+v", d)
	}
}

// What was the newest stays that: a step is seldom a whole number of slots.
func TestClockThatGoesBackLeavesNothingInTheFuture(t *testing.T) {
	for _, step := range []time.Duration{5 * time.Minute, 40 * time.Minute, 5*time.Hour + 35*time.Minute, 7 * time.Hour, 25*time.Hour + time.Second} {
		store := NewStore(Config{})
		s := store.Series(web("app"), epoch)
		at := fill(s, epoch, 2*day+31*time.Minute, 0.2, 1e8)
		at = fill(s, at, 5*time.Hour, 0.2, 2e8)
		store.Observe(at)
		back := at.Add(-step)
		store.Observe(back)
		if got := s.Peaks(back); got.Peak != 2e8 {
			t.Errorf("back by %s: %+v", step, got)
		}
		for _, q := range s.peaks.quarters {
			if q.slot > slotOf(back, quarter) {
				t.Errorf("back by %s: a quarter of a day lies in the future", step)
			}
		}
		for _, h := range s.peaks.hours {
			if h.slot > slotOf(back, time.Hour) {
				t.Errorf("back by %s: an hour lies in the future", step)
			}
		}
	}
}

// The times of a running agent have a monotonic reading, which goes on whatever
// the clock does.
func TestClockThatGoesBackWhileItRuns(t *testing.T) {
	store := NewStore(Config{})
	start := time.Now()
	store.Observe(start)
	s := store.Series(web("app"), start)
	at := fill(s, start, 2*time.Hour, 0.2, 1e8)
	s.Restarted(at)
	s.AddOOM(OOM{At: at, Scope: OOMPod, LimitBytes: 3e8})
	s.AddWindow(Window{Start: start, End: start.Add(time.Minute), NeedCores: 0.9, Periods: 600})
	s.Publish(Published{At: at, CPUChanged: at})
	store.Observe(at)
	back := setBack(at.Add(time.Second), day)
	store.Observe(back)
	if got := store.Stats().ClockSteps; got != 1 {
		t.Errorf("%d clock steps", got)
	}
	for name, found := range map[string]time.Time{
		"the last sample": s.Last(), "a restart": s.peaks.restarted, "a kill": s.OOMs(back).Newest.At,
		"a window": s.Throttling(back).Newest.End, "what was published": s.Published().At,
	} {
		if found.After(back.Round(0)) {
			t.Errorf("%s is of the future: %s", name, found)
		}
	}
}

// setBack returns the time at which a clock was set back that showed at: with the
// same monotonic reading, which nothing but time.Now itself gives.
func setBack(at time.Time, by time.Duration) time.Time {
	const secondsShift = 30 // of time.Time's first word
	*(*uint64)(unsafe.Pointer(&at)) -= uint64(by/time.Second) << secondsShift
	return at
}
