// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"math"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	// tooMany is how many times the limit the concurrency must be for the
	// threads to be the cause, calm which share of the limit the mean use must
	// then be below.
	tooMany = 2
	calm    = 0.6
)

// threadAdvice tells of a container that is throttled because many threads use
// up the quota at once, though its mean use is far below its limit.
func (a *advice) threadAdvice(w history.Window) {
	if w.Saturated || w.Concurrency < 1.5 || w.Concurrency < tooMany*w.QuotaCores || w.UsedCores > calm*w.QuotaCores {
		return
	}
	const period = 0.1
	quota := w.QuotaCores * period
	a.say(snapshot.ReasonCPUThreads, snapshot.ResourceCPU,
		fmt.Sprintf("About %.0f threads at once use up a period's %s in %s and stand still for the other %s, though mean use is only %s: at most %.0f thread(s) at a time (worker count, GOMAXPROCS, GC threads) would cure it as well.",
			math.Round(w.Concurrency), millis(quota), millis(quota/w.Concurrency), millis(period-quota/w.Concurrency), cores(w.UsedCores), math.Max(1, math.Floor(w.QuotaCores))),
		evidence("threads_at_once", w.Concurrency), evidence("mean_cores", w.UsedCores))
}
