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

// cpuRequest computes the CPU request: the 95th percentile of use, as far back as
// was cheapest of late, what it grows by, and more of the newest while use stays
// above it.
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
	request := a.demanded(d)
	if h := a.settings.CPUHeadroom; h > 0 && h != 1 {
		a.say(snapshot.ReasonCPUHeadroom, snapshot.ResourceCPU,
			fmt.Sprintf("The headroom makes it %s x %.4g = %s.", cores(request), h, cores(request*h)), evidence("headroom_ratio", h))
		request *= h
	}
	a.now.CPURequestCores = history.Known(request)
	if p := d.Of(a.span); p > 0 {
		a.beyond = request / p
	}
	a.cpuConfidence = grown(d.Observed)
}

// demanded returns the request without headroom.
func (a *advice) demanded(d history.Demand) float64 {
	a.span = d.Cheapest
	request := d.Of(a.span)
	a.say(snapshot.ReasonCPUDemand, snapshot.ResourceCPU,
		fmt.Sprintf("95%% of the time it used at most %s (%s of samples; those of %s ago count half).", cores(request), duration(d.Observed), ago(a.span)),
		evidence("p95_"+halfLife(a.span)+"_cores", request), evidence("observed_seconds", d.Observed.Seconds()))
	if a.span != history.Slow {
		a.say(snapshot.ReasonCPUSpan, snapshot.ResourceCPU,
			fmt.Sprintf("Of requests held for a day, those would have cost %s of use lately, with a half-life of 24 h %s (5%% of what is unused, 95%% of what is missing).",
				percent(d.Costs[a.span]), percent(d.Costs[history.Slow])),
			evidence("cost_ratio", d.Costs[a.span]), evidence("cost_24h_ratio", d.Costs[history.Slow]))
	}
	if ahead := d.Ahead(a.span); ahead > 1 {
		request *= ahead
		a.say(snapshot.ReasonCPURising, snapshot.ResourceCPU,
			fmt.Sprintf("Mean use rose on each of the last 3 days, by at least %s: it grows, so it is multiplied by %.3f, which makes %s.",
				percent(d.Growth), ahead, cores(request)), evidence("growth_ratio", d.Growth), evidence("margin_ratio", ahead-1))
	}
	if d.AboveBase > aboveMost && d.Fast > request {
		request, a.span = d.Fast, history.Fast
		a.say(snapshot.ReasonCPULevelRose, snapshot.ResourceCPU,
			fmt.Sprintf("Use was above %s for %s of the last hour, so newer use counts: its 95th percentile with a half-life of 6 h is %s.",
				cores(d.Base), percent(d.AboveBase), cores(d.Fast)),
			evidence("above_ratio", d.AboveBase), evidence("p95_6h_cores", d.Fast))
	}
	return request
}

// halfLife is a span's half-life as numbers are named.
func halfLife(span history.Span) string {
	return [history.NumSpans]string{history.Slow: "24h", history.Long: "7d", history.Fast: "6h"}[span]
}

// ago is a span's half-life in words.
func ago(span history.Span) string {
	return [history.NumSpans]string{history.Slow: "a day", history.Long: "a week", history.Fast: "6 hours"}[span]
}

// grown is how sure a percentile of so much time is: a third at once, all but
// sure after a week.
func grown(observed time.Duration) float64 {
	const sure = 7 * 24 * time.Hour
	return 0.3 + 0.65*min(1, observed.Hours()/sure.Hours())
}
