// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"time"

	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// Span says how far back a distribution of CPU demand looks.
type Span uint8

// The spans, with half-lives of 24 hours, of a week and of 6 hours. On a tie the
// first is taken.
const (
	Slow Span = iota
	Long
	Fast
	NumSpans
)

const (
	costHalfLife = 72 * time.Hour
	// fastCheaper is by how much the fast one must be cheaper: it changes its mind
	// with the hour, and each change is somebody's work.
	fastCheaper = 1.25
	// triedFor is how long guesses are tried before they decide anything, and how
	// long each is held: as long as a published hint.
	triedFor = 24 * time.Hour
)

// The proper loss of a 95th percentile.
const (
	unusedCost  = 1 - Percentile
	missingCost = Percentile
)

func costOf(request, used float64) float64 {
	return unusedCost*max(0, request-used) + missingCost*max(0, used-request)
}

// trial is what requests made of each of the spans would have cost, had they been
// held for a day each.
type trial struct {
	since, taken time.Time
	guesses      [NumSpans]float64 // cores, as of taken
	costs        [NumSpans]float64 // decayed, in core-seconds
	used         float64           // the same of what was used
}

func (t *trial) add(fade, seconds, cores float64) {
	t.used *= fade
	for i := range t.costs {
		t.costs[i] *= fade
	}
	if t.taken.IsZero() {
		return
	}
	t.used += seconds * cores
	for i, guess := range t.guesses {
		t.costs[i] += seconds * costOf(guess, cores)
	}
}

// due says whether new guesses are to be made: daily, in the first day more often.
func (t *trial) due(at time.Time) bool {
	return t.taken.IsZero() || at.Sub(t.taken) >= min(triedFor, max(time.Hour, at.Sub(t.since)))
}

func (t *trial) take(at time.Time, guesses [NumSpans]float64) {
	if t.since.IsZero() {
		t.since = at
	}
	t.taken, t.guesses = at, guesses
}

// cheapest returns the span whose guesses would have cost least.
func (t *trial) cheapest(at time.Time) Span {
	best := Slow
	if t.since.IsZero() || at.Sub(t.since) < triedFor {
		return best
	}
	for span := range NumSpans {
		weighed := t.costs[span]
		if span == Fast {
			weighed *= fastCheaper
		}
		if weighed < t.costs[best] {
			best = span
		}
	}
	return best
}

const (
	risingDays = 3
	keptDays   = risingDays + 2 // the day before them, and the present one
	// wholeDay is how much of a day must have been seen.
	wholeDay = 18 * time.Hour
	// leastGrowth is what steady use does not seem to grow by.
	leastGrowth = 0.01
)

// dayUse is what was used in a day.
type dayUse struct {
	slot                 int32
	coreSeconds, seconds float64
}

type dayUses [keptDays]dayUse

func (d *dayUses) add(at time.Time, seconds, cores float64) {
	slot := slotOf(at, 24*time.Hour)
	if slot <= 0 {
		return
	}
	day := &d[slot%keptDays]
	if day.slot < slot {
		*day = dayUse{slot: slot}
	}
	if day.slot == slot {
		day.coreSeconds += seconds * cores
		day.seconds += seconds
	}
}

// growth returns by what share the mean use of each of the last three whole days
// was above the day before's, at least: 0 unless it rose by a hundredth on each.
func (d *dayUses) growth(at time.Time) float64 {
	last := slotOf(at, 24*time.Hour) - 1
	least := math.Inf(1)
	for slot := last - risingDays + 1; slot <= last; slot++ {
		if slot <= 1 {
			return 0
		}
		day, before := d[slot%keptDays], d[(slot-1)%keptDays]
		if day.slot != slot || before.slot != slot-1 || min(day.seconds, before.seconds) < wholeDay.Seconds() || before.coreSeconds <= 0 {
			return 0
		}
		least = min(least, (day.coreSeconds/day.seconds)/(before.coreSeconds/before.seconds)-1)
	}
	if least < leastGrowth {
		return 0
	}
	return least
}

// shift moves the days by whole ones; the rest is less than a day.
func (d *dayUses) shift(by time.Duration) {
	var moved dayUses
	for _, day := range d {
		if slot := day.slot + int32(by/(24*time.Hour)); day.slot != 0 && slot > 0 {
			day.slot = slot
			moved[slot%keptDays] = day
		}
	}
	*d = moved
}

// mostAhead bounds what growth adds: nothing grows by a half a day for long.
const mostAhead = 1.5

// Ahead returns what use grows by until a hint made of a span is replaced: a day
// and a half for those that look back a day, half a day for the fast one, whose
// newest hours weigh most. What a week says does not grow.
func (d Demand) Ahead(span Span) float64 {
	switch span {
	case Slow:
		return min(mostAhead, math.Pow(1+d.Growth, SlowAheadDays))
	case Fast:
		return min(mostAhead, math.Pow(1+d.Growth, FastAheadDays))
	}
	return 1
}

// How many days of growth are added.
const (
	SlowAheadDays = 1.5
	FastAheadDays = 0.5
)

// Of returns the 95th percentile of a span.
func (d Demand) Of(span Span) float64 {
	switch span {
	case Long:
		return d.Long
	case Fast:
		return d.Fast
	}
	return d.Base
}

func (d *demand) distribution(span Span) util.Histogram {
	switch span {
	case Long:
		return d.long
	case Fast:
		return d.fast
	}
	return d.slow
}

// RequestCost returns what a request costs over the use that a span knows, in
// parts of that use: 5 % of what is not used and 95 % of what is missing. ok is
// false without any use.
func (s *Series) RequestCost(span Span, request float64) (cost float64, ok bool) {
	saved, err := saveHistogram(s.cpu.distribution(span))
	options := histogramOptions()
	if err != nil || options == nil {
		return 0, false
	}
	var sum, used float64
	for _, b := range saved.Buckets {
		bucket, weight := int(b[0]), float64(b[1])
		cores := options.GetBucketStart(bucket)
		if bucket+1 < options.NumBuckets() {
			cores = (cores + options.GetBucketStart(bucket+1)) / 2
		}
		sum += weight * costOf(request, cores)
		used += weight * cores
	}
	return sum / used, used > 0
}
