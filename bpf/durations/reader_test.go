// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// bare returns a reader without programs: what they would send is put in by
// hand.
func bare() *Reader {
	return &Reader{bounds: []uint64{10, 100, 1000}, throttle: &throttle{}, stall: &stall{}, accounts: map[uint64]*account{}, now: time.Now()}
}

type told struct {
	Kind  Kind
	Cells []uint64
	Nanos uint64
}

func take(r *Reader, container uint64, ended bool) (all []told) {
	r.Take(container, ended, func(kind Kind, cells []uint64, nanos uint64) {
		all = append(all, told{kind, append([]uint64(nil), cells...), nanos})
	})
	return all
}

func drained(t *testing.T, r *Reader) {
	t.Helper()
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
}

// forgetUnclaimed lets time pass until nobody is waited for any more.
func (r *Reader) forgetUnclaimed(t *testing.T) {
	t.Helper()
	for _, a := range r.accounts {
		a.used = a.used.Add(-unclaimedTime)
	}
	drained(t, r)
}

// However often the events are drained between two sweeps, which alone take what
// there is, nothing of a living container is given up.
func TestSweepsMayBeFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bare()
		drained(t, r)
		r.interval(&throttleInterval{Cgroup: 1, EndNs: 5000, LengthNs: 60, Quiet: 1})
		for range 50 * 60 { // a minute of wakes
			time.Sleep(20 * time.Millisecond)
			drained(t, r)
		}
		if diff := gocmp.Diff([]told{{Throttle, []uint64{0, 1, 0, 0}, 60}}, take(r, 1, false)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		time.Sleep(unclaimedTime + time.Second)
		drained(t, r)
		if len(r.accounts) != 0 {
			t.Errorf("%d accounts are left of what nobody asks for", len(r.accounts))
		}
	})
}

func TestTakeTellsOnce(t *testing.T) {
	r := bare()
	r.interval(&throttleInterval{Cgroup: 1, EndNs: 5000, LengthNs: 60, Cpu: 0})
	r.interval(&throttleInterval{Cgroup: 1, EndNs: 5010, LengthNs: 50, Cpu: 1, Quiet: 1})
	if got := take(r, 1, false); got != nil {
		t.Errorf("told %v before it was over", got)
	}
	drained(t, r)
	drained(t, r)
	if diff := gocmp.Diff([]told{{Throttle, []uint64{0, 1, 0, 0}, 70}}, take(r, 1, false)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if got := take(r, 1, false); got != nil {
		t.Errorf("told %v again", got)
	}
	if got := r.accounts[1].rawNanos; got != 110 {
		t.Errorf("raw sum %d, want 110", got)
	}
}

func TestEndTellsTheRest(t *testing.T) {
	r := bare()
	r.interval(&throttleInterval{Cgroup: 1, EndNs: 5000, LengthNs: 2000})
	var sum stallStallSum
	sum.LengthNs, sum.Cells[0], sum.Cells[3] = 7005, 1, 2
	r.stalled(stallStallKey{Container: 1, Cause: causeHigh}, &sum)
	want := []told{{Throttle, []uint64{0, 0, 0, 1}, 2000}, {StallHigh, []uint64{1, 0, 0, 2}, 7005}}
	if diff := gocmp.Diff(want, take(r, 1, true)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	// The kernel may release a last CPU after the cgroup is gone.
	r.interval(&throttleInterval{Cgroup: 1, EndNs: 9000, LengthNs: 2000, Quiet: 1})
	drained(t, r)
	drained(t, r)
	if got := take(r, 1, true); got != nil {
		t.Errorf("told %v after the end", got)
	}
	r.forgetUnclaimed(t)
	if len(r.accounts) != 0 || r.lostHere != [NumKinds]uint64{} {
		t.Errorf("%d accounts are left, %v lost", len(r.accounts), r.lostHere)
	}
}

func TestStallsAreDifferences(t *testing.T) {
	r := bare()
	key := stallStallKey{Container: 1, Cause: causeLimit}
	var sum stallStallSum
	sum.LengthNs, sum.Cells[1] = 50, 1<<32-1
	r.stalled(key, &sum)
	take(r, 1, false)
	sum.LengthNs, sum.Cells[1] = 170, 2 // it went round
	r.stalled(key, &sum)
	if diff := gocmp.Diff([]told{{StallLimit, []uint64{0, 3, 0, 0}, 120}}, take(r, 1, false)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestExcessIsSummed(t *testing.T) {
	r := bare()
	r.excess(1, &throttleExcess{Count: 4, LengthNs: 200})
	r.excess(1, &throttleExcess{Count: 4, LengthNs: 200})
	r.excess(1, &throttleExcess{Count: 5, LengthNs: 1200})
	if diff := gocmp.Diff([]told{{Throttle, []uint64{0, 4, 1, 0}, 1200}}, take(r, 1, false)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// Kubepods may go and come, as on a kubelet's restart: what was lost stays lost.
func TestLossesBeginOnce(t *testing.T) {
	r := bare()
	here := Place{Kubepods: 1}
	if err := r.SetPlace(here); err != nil {
		t.Fatal(err)
	}
	const before = 4 // as if there had been so many by then
	r.throttle.unmatchedBefore = before
	for _, place := range []Place{{}, here, {}, {Kubepods: 2}} {
		if err := r.SetPlace(place); err != nil {
			t.Fatal(err)
		}
		if got := r.throttle.unmatchedBefore; !r.throttle.begun || got != before {
			t.Errorf("with %+v what was lost counts from %d on, want %d", place, got, before)
		}
	}
}

func TestAccountsAreBounded(t *testing.T) {
	r := bare()
	for id := range uint64(maxAccounts + 10) {
		r.interval(&throttleInterval{Cgroup: id + 1, EndNs: 5000, LengthNs: 2000, Quiet: 1})
	}
	if throttle, _ := r.Lost(); len(r.accounts) != maxAccounts || throttle != 10 {
		t.Errorf("%d accounts, %d lost", len(r.accounts), throttle)
	}
	// Nobody asks for them.
	r.forgetUnclaimed(t)
	if throttle, _ := r.Lost(); len(r.accounts) != 0 || throttle != maxAccounts+10 {
		t.Errorf("%d accounts, %d lost", len(r.accounts), throttle)
	}
}

func TestOpenRefusesBounds(t *testing.T) {
	for name, bounds := range map[string][]uint64{"too many": make([]uint64, MaxBounds+1), "not ascending": {2, 1}} {
		if _, err := Open(Config{BoundsNanos: bounds}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRingBytes(t *testing.T) {
	for cpus, want := range map[int]int{1: 256 << 10, 2: 512 << 10, 3: 1 << 20, 16: 4 << 20, 512: 4 << 20} {
		if got := ringBytes(cpus); got != want {
			t.Errorf("%d CPUs: %d bytes, want %d", cpus, got, want)
		}
	}
}
