// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"slices"
	"time"
)

// Window is what a minute or so of per-period CPU records says about the limit
// that a container needs. Package hints/quota makes it of the records.
type Window struct {
	Start, End time.Time
	// QuotaCores is the limit that was in force; 0 without one.
	QuotaCores float64
	// UsedCores is the mean use.
	UsedCores float64
	// Periods counts the periods in which something ran, Throttled those of
	// them that used up the quota.
	Periods, Throttled int
	// Slowdown is throttled time / (used + throttled time).
	Slowdown float64
	// NeedCores is the smallest limit that keeps both under 1 %, its margin
	// included.
	NeedCores float64
	// Basis is what NeedCores was made of where the limit was too low, BasisCores
	// the same without its margin; empty and 0 where that is not known.
	Basis      Basis
	BasisCores float64
	// Saturated says that the limit was never slack: the demand behind it is
	// not known, NeedCores is only what the CPUs and threads could use.
	Saturated bool
	// Concurrency is how many CPUs the work wanted at once while it was
	// throttled, Threads how many threads there were; 0 if not known.
	Concurrency float64
	Threads     int
	// BurstSeconds is the burst allowance (cpu.max.burst) that would cure the
	// throttling under the same quota; 0 if none would.
	BurstSeconds float64
	// Exact is true for records from the kernel, false for polls of cpu.stat.
	Exact bool
}

// Basis says by which arithmetic of package hints/quota a need was found.
type Basis string

// The bases.
const (
	BasisPeriods  Basis = "periods"  // what 99 % of the periods needed
	BasisTail     Basis = "tail"     // the geometric mean of that and of what the periods that were not throttled let expect
	BasisSlowdown Basis = "slowdown" // under which work waits for 1 % of its time
	BasisTurns    Basis = "turns"    // TurnFactor x the use of the time in which it was not held
	BasisBusy     Basis = "busy"     // one thread that is always busy, and its runtime
	BasisRaise    Basis = "raise"    // LeastRaise x the limit
	BasisMost     Basis = "most"     // all that its threads and the node's CPUs can use
)

// TurnFactor is what the fullest of 100 periods holds of short turns of work by
// their mean.
const TurnFactor = 1.75

// OverTarget says whether the limit was too low in the window: 1 % of the
// periods throttled and 1 % of slowdown are the most that a limit may cost.
func (w *Window) OverTarget() bool {
	return w.Periods > 0 && (float64(w.Throttled) > ThrottleTarget*float64(w.Periods) || w.Slowdown > ThrottleTarget)
}

// Harmless says that next to nothing waited, though periods may have been
// throttled: for less than a tenth of what a limit may cost.
func (w *Window) Harmless() bool { return w.Slowdown < ThrottleTarget/10 }

// LeastRaise is by how much a limit is raised at least while it throttles over
// the target: less would not be worth a change.
const LeastRaise = 1.25

// ThrottleTarget is the share of throttled periods, and of slowdown, that a
// limit may cost.
const ThrottleTarget = 0.01

const (
	maxWindows = 16
	// newestWindows are kept whatever they say, the others by their need.
	newestWindows = 4
	// windowKept is how long a window counts.
	windowKept = 14 * 24 * time.Hour
	// sameLoad is how much of an earlier window's use a later one must reach to
	// speak of the same load.
	sameLoad = 0.8
)

// windows are the windows that matter: the newest and the highest.
type windows struct{ kept []Window } // by time

// AddWindow takes a window in. Of too many the one that asked for least goes,
// the newest aside.
func (s *Series) AddWindow(w Window) {
	if w.Periods <= 0 || !w.End.After(w.Start) {
		return
	}
	length := w.End.Sub(w.Start) // whatever became of the clock meanwhile
	w.End = wall(w.End)
	w.Start = w.End.Add(-length)
	s.seen(w.End)
	s.windows.kept = append(s.windows.kept, w)
	k := slices.DeleteFunc(s.windows.kept, func(old Window) bool { return w.End.Sub(old.End) > windowKept })
	if len(k) > maxWindows {
		older := k[:len(k)-newestWindows]
		least := 0
		for i := range older {
			if older[i].NeedCores < older[least].NeedCores {
				least = i
			}
		}
		k = slices.Delete(k, least, least+1)
	}
	s.windows.kept = k
}

// Throttling is what the kept windows say together.
type Throttling struct {
	// Decisive is the window with the highest need that no later one
	// corrected; its Periods are 0 if there is no window.
	Decisive Window
	// Newest is the newest window.
	Newest Window
	// FloorCores is the highest limit that was seen to be too low for a load
	// that a later window knew under a higher one; 0 without such a pair.
	FloorCores float64
	// Windows is how many windows count.
	Windows int
}

// Throttling returns what the windows up to now say. A window in which the
// limit was too low can only guess what is behind it; one with as much use,
// under a higher limit that was not too low, knows, and takes its place.
func (s *Series) Throttling(now time.Time) Throttling {
	var t Throttling
	for i, w := range s.windows.kept {
		if now.Sub(w.End) > windowKept {
			continue
		}
		t.Windows++
		t.Newest = w
		if s.windows.corrected(i) {
			t.FloorCores = max(t.FloorCores, w.QuotaCores)
			continue
		}
		if t.Decisive.Periods == 0 || cmp.Less(t.Decisive.NeedCores, w.NeedCores) {
			t.Decisive = w
		}
	}
	return t
}

func (w *windows) corrected(i int) bool {
	guess := &w.kept[i]
	if !guess.OverTarget() {
		return false
	}
	for _, later := range w.kept[i+1:] {
		higher := later.QuotaCores == 0 || later.QuotaCores > guess.QuotaCores
		if higher && !later.OverTarget() && later.UsedCores >= sameLoad*guess.UsedCores {
			return true
		}
	}
	return false
}

func (w *windows) shift(move func(*time.Time)) {
	for i := range w.kept {
		move(&w.kept[i].Start)
		move(&w.kept[i].End)
	}
}
