// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"time"

	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// The half-lives of the distributions of CPU demand, and of the share of time
// above the base.
const (
	LongHalfLife  = 7 * 24 * time.Hour
	SlowHalfLife  = 24 * time.Hour
	FastHalfLife  = 6 * time.Hour
	ShareHalfLife = time.Hour
)

// Percentile is the percentile of demand that a CPU request is made of.
const Percentile = 0.95

// baseEvery is how often the base is taken anew.
const baseEvery = 5 * time.Minute

// demand is what is kept of a container's CPU use. VPA's own histograms hold
// it, in finer buckets than VPA's: its first one is 10m wide, which is more
// than many sidecars use.
type demand struct {
	slow, long, fast util.Histogram
	// base is the slow distribution's percentile, as of refreshed.
	base      float64
	refreshed time.Time
	// above is the decayed time in which use was above base, total all decayed
	// time, in seconds as of decayed.
	above, total float64
	decayed      time.Time
	// observed is how much time the samples covered.
	observed time.Duration
	highest  float64 // ever
	newest   time.Time
	trial    trial
	days     dayUses
}

// The buckets grow by 3 % from 1m to 1024 cores.
const (
	maxDemandCores   = 256
	firstBucketCores = 0.0002
	bucketRatio      = 1.03
	// emptyWeight is below any weight that a sample has.
	emptyWeight = 1e-4
)

func histogramOptions() util.HistogramOptions {
	options, err := util.NewExponentialHistogramOptions(maxDemandCores, firstBucketCores, bucketRatio, emptyWeight)
	if err != nil {
		return nil // the constants above are not what it refuses
	}
	return options
}

func newHistogram(halfLife time.Duration) util.Histogram {
	return util.NewDecayingHistogram(histogramOptions(), halfLife)
}

func (d *demand) init() {
	d.slow, d.long, d.fast = newHistogram(SlowHalfLife), newHistogram(LongHalfLife), newHistogram(FastHalfLife)
}

func (d *demand) add(at time.Time, elapsed time.Duration, cores float64) {
	if d.newest.After(at) {
		at = d.newest // another pod of the workload was read a moment earlier
	}
	d.newest = at
	weight := elapsed.Seconds()
	if !d.refreshed.IsZero() {
		passed := at.Sub(d.decayed).Seconds()
		fade := math.Exp2(-passed / ShareHalfLife.Seconds())
		d.above, d.total = d.above*fade, d.total*fade+weight
		if cores > d.base {
			d.above += weight
		}
		d.trial.add(math.Exp2(-passed/costHalfLife.Seconds()), weight, cores)
	}
	d.decayed = at
	d.slow.AddSample(cores, weight, at)
	d.long.AddSample(cores, weight, at)
	d.fast.AddSample(cores, weight, at)
	d.days.add(at, weight, cores)
	d.observed += elapsed
	d.highest = max(d.highest, cores)
	if d.refreshed.IsZero() || at.Sub(d.refreshed) >= baseEvery {
		d.base, d.refreshed = d.slow.Percentile(Percentile), at
	}
	if d.trial.due(at) {
		known := d.percentiles()
		var guesses [NumSpans]float64
		for span := range NumSpans {
			guesses[span] = known.Of(span) * known.Ahead(span)
		}
		d.trial.take(at, guesses)
	}
}

func (d *demand) percentiles() Demand {
	return Demand{
		Base: d.base, Slow: d.slow.Percentile(Percentile), Long: d.long.Percentile(Percentile), Fast: d.fast.Percentile(Percentile),
		Growth: d.days.growth(d.newest),
	}
}

// Demand is what is known of a container's CPU use, in cores.
type Demand struct {
	// Slow, Long and Fast are the 95th percentiles with half-lives of 24 hours,
	// of a week and of 6 hours, Base is Slow as it was up to five minutes ago.
	Slow, Long, Fast, Base float64
	// Cheapest is the span whose requests, held for a day each, would have cost
	// least of late; Costs are what those would have cost, in parts of the use.
	Cheapest Span
	Costs    [NumSpans]float64
	// Growth is by what share the mean use of each of the last three whole days
	// was above the day before's, at least.
	Growth float64
	// AboveBase is the share of time that use was above Base, decayed with a
	// half-life of an hour.
	AboveBase float64
	// Observed is how much time was sampled, over all pods.
	Observed time.Duration
	// Highest is the highest use of any one sample, ever.
	Highest float64
}

// Demand returns what is known of the CPU use; Observed is 0 if nothing is.
func (s *Series) Demand() Demand {
	var d Demand
	if s.cpu.observed > 0 {
		d = s.cpu.percentiles()
	}
	d.Observed, d.Highest, d.Cheapest = s.cpu.observed, s.cpu.highest, s.cpu.trial.cheapest(s.cpu.newest)
	if s.cpu.trial.used > 0 {
		for span, cost := range s.cpu.trial.costs {
			d.Costs[span] = cost / s.cpu.trial.used
		}
	}
	if s.cpu.total > 0 {
		d.AboveBase = s.cpu.above / s.cpu.total
	}
	return d
}

// shift moves the distributions by way of their saved form: they have no other.
func (d *demand) shift(by time.Duration, move func(*time.Time)) {
	move(&d.refreshed)
	move(&d.decayed)
	move(&d.newest)
	move(&d.trial.since)
	move(&d.trial.taken)
	d.days.shift(by)
	d.slow = shiftHistogram(d.slow, SlowHalfLife, by)
	d.long = shiftHistogram(d.long, LongHalfLife, by)
	d.fast = shiftHistogram(d.fast, FastHalfLife, by)
}

func shiftHistogram(h util.Histogram, halfLife, by time.Duration) util.Histogram {
	moved := newHistogram(halfLife)
	if h.IsEmpty() {
		return moved
	}
	saved, err := h.SaveToChekpoint()
	if err != nil {
		return moved
	}
	saved.ReferenceTimestamp.Time = saved.ReferenceTimestamp.Add(by)
	if moved.LoadFromCheckpoint(saved) != nil {
		return newHistogram(halfLife)
	}
	return moved
}
