// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	// leastObserved is how much CPU time series a request takes.
	leastObserved = time.Minute
	// idleCores is a use of any one sample that says nothing about what a
	// container needs when it is asked to work.
	idleCores = 0.0005
	// aboveMost is the share of time above the base at which newer use counts.
	aboveMost = 0.5
)

// cpuRequest computes the CPU request: the 95th percentile of recent use, and
// more of the newest while use stays above it.
func (a *advice) cpuRequest() {
	d := a.series.Demand()
	switch {
	case d.Observed < leastObserved:
		a.say(snapshot.ReasonFewCPUSamples, snapshot.ResourceCPU,
			fmt.Sprintf("No CPU hint yet: %s of CPU use were seen, a hint needs %s.", duration(d.Observed), duration(leastObserved)))
		return
	case a.peaks.RecentCores < idleCores:
		a.idle = true
		a.say(snapshot.ReasonCPUIdle, snapshot.ResourceCPU,
			fmt.Sprintf("No CPU hint: in the last %s that it was seen it never used more than %s, which does not say what it needs when it has work.",
				duration(min(d.Observed, 2*24*time.Hour)), cores(a.peaks.RecentCores)), evidence("highest_2d_cores", a.peaks.RecentCores))
		return
	}
	request := d.Base
	a.say(snapshot.ReasonCPUDemand, snapshot.ResourceCPU,
		fmt.Sprintf("95%% of the time it used at most %s (%s of samples; those of a day ago count half).", cores(d.Base), duration(d.Observed)),
		evidence("p95_24h_cores", d.Base), evidence("observed_seconds", d.Observed.Seconds()))
	if d.AboveBase > aboveMost && d.Fast > request {
		request = d.Fast
		a.say(snapshot.ReasonCPULevelRose, snapshot.ResourceCPU,
			fmt.Sprintf("Use was above that for %s of the last hour, so newer use counts: its 95th percentile with a half-life of 6 h is %s.",
				percent(d.AboveBase), cores(d.Fast)),
			evidence("above_ratio", d.AboveBase), evidence("p95_6h_cores", d.Fast))
	}
	if h := a.settings.CPUHeadroom; h > 0 && h != 1 {
		a.say(snapshot.ReasonCPUHeadroom, snapshot.ResourceCPU,
			fmt.Sprintf("The headroom makes it %s x %.4g = %s.", cores(request), h, cores(request*h)), evidence("headroom_ratio", h))
		request *= h
	}
	a.now.CPURequestCores = history.Known(request)
	a.cpuConfidence = grown(d.Observed)
}

// grown is how sure a percentile of so much time is: a third at once, all but
// sure after a week.
func grown(observed time.Duration) float64 {
	const sure = 7 * 24 * time.Hour
	return 0.3 + 0.65*min(1, observed.Hours()/sure.Hours())
}
