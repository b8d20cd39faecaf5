// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"time"

	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// The half-lives of the two distributions of CPU demand, and of the share of
// time above the base.
const (
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
	slow, fast util.Histogram
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
}

// The buckets grow by 3 % from 1m to 1024 cores.
const (
	maxDemandCores   = 256
	firstBucketCores = 0.0002
	bucketRatio      = 1.03
	// emptyWeight is below any weight that a sample has.
	emptyWeight = 1e-4
)

func newHistogram(halfLife time.Duration) util.Histogram {
	options, err := util.NewExponentialHistogramOptions(maxDemandCores, firstBucketCores, bucketRatio, emptyWeight)
	if err != nil {
		return nil // the constants above are not what it refuses
	}
	return util.NewDecayingHistogram(options, halfLife)
}

func (d *demand) init() {
	d.slow, d.fast = newHistogram(SlowHalfLife), newHistogram(FastHalfLife)
}

func (d *demand) add(at time.Time, elapsed time.Duration, cores float64) {
	if d.newest.After(at) {
		at = d.newest // another pod of the workload was read a moment earlier
	}
	d.newest = at
	weight := elapsed.Seconds()
	if !d.refreshed.IsZero() {
		fade := math.Exp2(-at.Sub(d.decayed).Seconds() / ShareHalfLife.Seconds())
		d.above, d.total = d.above*fade, d.total*fade+weight
		if cores > d.base {
			d.above += weight
		}
	}
	d.decayed = at
	d.slow.AddSample(cores, weight, at)
	d.fast.AddSample(cores, weight, at)
	d.observed += elapsed
	d.highest = max(d.highest, cores)
	if d.refreshed.IsZero() || at.Sub(d.refreshed) >= baseEvery {
		d.base, d.refreshed = d.slow.Percentile(Percentile), at
	}
}

// Demand is what is known of a container's CPU use, in cores.
type Demand struct {
	// Slow and Fast are the 95th percentiles with half-lives of 24 and of 6
	// hours, Base is Slow as it was up to five minutes ago.
	Slow, Fast, Base float64
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
	d := Demand{Base: s.cpu.base, Observed: s.cpu.observed, Highest: s.cpu.highest}
	if s.cpu.observed > 0 {
		d.Slow, d.Fast = s.cpu.slow.Percentile(Percentile), s.cpu.fast.Percentile(Percentile)
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
	d.slow = shiftHistogram(d.slow, SlowHalfLife, by)
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
