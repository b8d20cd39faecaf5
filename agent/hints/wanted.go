// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
)

// wanted says what a throttled window's need was made of, with the numbers to
// make it again.
func wanted(w history.Window) string {
	need, base := cores(w.NeedCores), cores(w.BasisCores)
	switch w.Basis {
	case history.BasisPeriods:
		return fmt.Sprintf("What it wanted to do at once needs %s in 99%% of the periods, %s included", need, margin(w))
	case history.BasisTail:
		return fmt.Sprintf("What it wanted to do at once needs about %s: the geometric mean of what the throttled periods and the others let expect, %s included", need, margin(w))
	case history.BasisSlowdown:
		return fmt.Sprintf("So that its bursts wait for at most 1%% of its time it needs %s, %s included", need, margin(w))
	case history.BasisTurns:
		return fmt.Sprintf("It works and rests in short turns, which need %.4g x the %s that it used of the time in which it was not held; with %s %s",
			history.TurnFactor, cores(w.BasisCores/history.TurnFactor), margin(w), need)
	case history.BasisBusy:
		return fmt.Sprintf("One thread is always busy, which needs %s with what its runtime does beside it; with %s %s", base, margin(w), need)
	case history.BasisMost:
		return fmt.Sprintf("More than its threads and the node's CPUs can use, %s, it does not need; with %s %s", base, margin(w), need)
	case history.BasisRaise:
		return fmt.Sprintf("What it wanted to do at once is little more, so that %.4g x the limit is enough: %s", history.LeastRaise, need)
	}
	return fmt.Sprintf("It needs %s, %s included", need, margin(w)) // a window of an earlier version
}

// margin says what a need has beyond its basis.
func margin(w history.Window) string {
	if w.BasisCores <= 0 {
		return "a margin"
	}
	return percent(w.NeedCores/w.BasisCores-1) + " of margin"
}
