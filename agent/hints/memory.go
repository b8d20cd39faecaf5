// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	leastMargin  = 0.10
	mostMargin   = 0.40
	newcomerDays = 0.45 // the margin after one day, which falls with each further one
)

// memoryPeak computes the memory that is needed: the highest working set of 14
// days and a margin for what is not known of it yet.
func (a *advice) memoryPeak() {
	m := a.peaks
	if !m.Samples {
		return
	}
	margin, because := memoryMargin(m)
	a.need = m.Peak * (1 + margin)
	a.say(snapshot.ReasonMemoryPeak, snapshot.ResourceMemory,
		fmt.Sprintf("The highest working set of the last %s is %s; with a margin of %s (%s) that is %s.",
			days(m.Days), bytes(m.Peak), percent(margin), because, bytes(a.need)),
		evidence("peak_bytes", m.Peak), evidence("margin_ratio", margin), evidence("days", m.Days))
	a.memoryConfidence = grown(time.Duration(m.Days * 24 * float64(time.Hour)))
}

func memoryMargin(m history.Peaks) (margin float64, because string) {
	margin, because = leastMargin, "the least"
	if m.Days > 0 {
		if young := newcomerDays / m.Days; young > margin {
			margin, because = young, fmt.Sprintf("45%% / %s seen", days(m.Days))
		}
	}
	if m.Overshoot > margin {
		margin, because = m.Overshoot, "the second-largest step of a new day over all earlier ones"
	}
	if margin > mostMargin {
		return mostMargin, because + ", at most 40%"
	}
	return margin, because
}
