// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// ticked are the ticks of a quota of 50 ms that was used up twice.
func ticked() []Tick {
	count := uint32(1<<32 - 3)
	tick := func(at, left, stall time.Duration, cpus, waiting int) Tick {
		count++
		return Tick{At: at, Length: 100 * ms, Quota: 50 * ms, Left: left, Stall: stall, Held: cpus > 0, CPUs: cpus, Waiting: waiting, Count: count}
	}
	return []Tick{
		tick(1000*ms, 20*ms, 0, 0, 0),
		tick(1100*ms, 0, 0, 2, 3),
		tick(1201*ms, 0, 120*ms, 1, 1),
		tick(1500*ms, 20*ms, 150*ms, 0, 0),
		tick(1600*ms, 50*ms, 150*ms, 0, 0), // nothing ran
		tick(1900*ms, 40*ms, 150*ms, 0, 0),
	}
}

func TestTicksAreRecords(t *testing.T) {
	polls := &Records{
		Start: time.Unix(0, 0), End: time.Unix(1, 0), QuotaCores: 0.5, Length: PollEvery, CPUs: 4, Threads: 3,
		Periods: []Period{{Used: ms}}, NrPeriods: 8, NrThrottled: 2,
	}
	var k Ticks
	k.Begin()
	for i, tick := range ticked() {
		if i == 1 {
			tick.Later = 20 * ms
		}
		if i >= 4 {
			tick.Count += 2 // three ended with the fourth
		}
		k.Add(tick)
	}
	got, ok := k.Records(polls)
	want := *polls
	want.Exact = true
	want.Periods = []Period{
		{Index: 0, Used: 30 * ms},
		{Index: 1, Used: 50 * ms, Throttled: true, Stall: 120 * ms, Held: 70 * ms, CPUs: 2, Runnable: 3},
		{Index: 2, Used: 50 * ms, Throttled: true, Stall: 30 * ms, Held: 29 * ms, CPUs: 1, Runnable: 1},
		{Index: 3, Used: 10 * ms},
		{Index: 4, Used: 10 * ms},
		{Index: 5, Used: 10 * ms},
		{Index: 9, Used: 10 * ms},
	}
	if diff := cmp.Diff(&want, got); !ok || diff != "" {
		t.Errorf("%v (-want +got):\n%s", ok, diff)
	}
}

// How long the last period was held for is not known, so that it is no record.
func TestTickThatEndsHeld(t *testing.T) {
	polls := &Records{Start: time.Unix(0, 0), End: time.Unix(1, 0), QuotaCores: 0.5, Length: PollEvery, CPUs: 4, NrPeriods: 3, NrThrottled: 2}
	var k Ticks
	k.Begin()
	for _, tick := range ticked()[:3] {
		k.Add(tick)
	}
	got, ok := k.Records(polls)
	if !ok || len(got.Periods) != 2 || got.Periods[1].Stall == 0 {
		t.Errorf("%t: %+v, want two periods", ok, got)
	}
}

func TestTicksThatAreNoRecords(t *testing.T) {
	for name, change := range map[string]func([]Tick, *Records) []Tick{
		"none":          func([]Tick, *Records) []Tick { return nil },
		"some missing":  func(all []Tick, polls *Records) []Tick { polls.NrPeriods = 9; return all },
		"another quota": func(all []Tick, _ *Records) []Tick { all[3].Quota *= 2; return all },
		"rescaled":      func(all []Tick, _ *Records) []Tick { all[3].Length *= 2; return all },
		"burst":         func(all []Tick, _ *Records) []Tick { all[0].Burst = ms; return all },
		"backwards":     func(all []Tick, _ *Records) []Tick { all[3].At = 0; return all },
		"idle": func(all []Tick, _ *Records) []Tick {
			for i := range all {
				all[i].Left, all[i].Held = all[i].Quota, false
			}
			return all
		},
		"too many": func(all []Tick, _ *Records) []Tick {
			for range maxPolls {
				all = append(all, all[len(all)-1])
				all[len(all)-1].At += 100 * ms
			}
			return all
		},
	} {
		polls := &Records{Start: time.Unix(0, 0), End: time.Unix(1, 0), QuotaCores: 0.5, Length: PollEvery, NrPeriods: 6}
		var k Ticks
		for _, tick := range change(ticked(), polls) {
			k.Add(tick)
		}
		if got, ok := k.Records(polls); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
