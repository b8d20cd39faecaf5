// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	leakHours  = 6
	leakRises  = 0.9 // of the hours
	leakGrowth = 1.2 // of the working set over them
	// leakSteady is how much of the first half's growth the second half must
	// have: caches that fill up slow down.
	leakSteady = 0.5
)

// leak names a working set that only grows. A hint does not cure it.
func (a *advice) leak() {
	g := a.series.Growth(a.at)
	if g.Hours < leakHours || float64(g.Rises) < leakRises*float64(g.Hours-1) || g.To < leakGrowth*g.From ||
		g.To-g.Middle < leakSteady*(g.Middle-g.From) {
		return
	}
	rate := (g.To - g.From) / float64(g.Hours-1)
	text := fmt.Sprintf("Its working set only grows: the lowest value of an hour rose in %d of the last %d hours, from %s to %s (%s an hour). This looks like a leak, or a cache without a bound: a higher limit does not cure it",
		g.Rises, g.Hours-1, bytes(g.From), bytes(g.To), bytes(rate))
	if limit := a.facts.MemoryLimitBytes; isSet(limit) && limit.V > g.To {
		text += fmt.Sprintf(", and its limit of %s is reached in %s", bytes(limit.V), duration(time.Duration((limit.V-g.To)/rate*float64(time.Hour))))
	}
	a.say(snapshot.ReasonMemoryLeak, snapshot.ResourceMemory, text+".",
		evidence("from_bytes", g.From), evidence("to_bytes", g.To), evidence("hours", float64(g.Hours)))
	a.memoryConfidence *= 0.5
}
