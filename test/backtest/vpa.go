// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"time"

	vpa "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// The Vertical Pod Autoscaler's defaults
// (vertical-pod-autoscaler/pkg/recommender/model/aggregations_config.go,
// logic/recommender.go, updater/main.go).
const (
	vpaHalfLife       = 24 * time.Hour
	vpaSampleWeight   = 0.1
	vpaEpsilon        = 0.001 * vpaSampleWeight
	vpaBucketGrowth   = 1.05
	vpaSafetyMargin   = 1.15
	vpaTarget         = 0.9
	vpaLowerBound     = 0.5
	vpaUpperBound     = 0.95
	vpaMemoryInterval = 24 * time.Hour
	vpaOOMRatio       = 1.2
	vpaOOMBytes       = 100 << 20
	vpaMinChange      = 0.1
	vpaMinLifetime    = 12 * time.Hour
)

// VPA returns the Vertical Pod Autoscaler: its own histograms, percentiles,
// margins and confidence, and its updater's rule for when a pod is given new
// resources. Its floors (25m, 250 MiB a pod) are left out, so that small
// containers can be compared.
func VPA() Recommender {
	return Recommender{
		Name:   "VPA",
		CPU:    func() CPURecommender { return &vpaCPU{histogram: vpaHistogram(1000, 0.01)} },
		Memory: func() MemoryRecommender { return &vpaMemory{histogram: vpaHistogram(1e12, 1e7)} },
	}
}

func vpaHistogram(highest, first float64) vpa.Histogram {
	options, err := vpa.NewExponentialHistogramOptions(highest, first, vpaBucketGrowth, vpaEpsilon)
	if err != nil {
		panic(err) // the numbers above are constants
	}
	return vpa.NewDecayingHistogram(options, vpaHalfLife)
}

// vpaConfidence is logic.getConfidence: days of life, or days' worth of
// samples of a minute, whichever is less. The samples here are what a scrape
// each minute would have given over the same time, so that the steps of a trace
// do not matter.
type vpaConfidence struct{ first, last time.Time }

func (c *vpaConfidence) note(at time.Time) {
	if c.first.IsZero() {
		c.first = at
	}
	c.last = at
}

func (c *vpaConfidence) days() float64 { return c.last.Sub(c.first).Hours() / 24 }

func (c *vpaConfidence) upper(v float64) float64 { return v * (1 + 1/c.days()) }

func (c *vpaConfidence) lower(v float64) float64 { return v * math.Pow(1+0.001/c.days(), -2) }

// vpaUpdater is updater/priority: a pod is replaced when what it has is outside
// of the recommended range, or when it lived for 12 hours and would change by a
// tenth.
type vpaUpdater struct {
	started time.Time // when the newest pod did
	given   float64
}

func (u *vpaUpdater) decide(at time.Time, inForce, target, lower, upper float64) Advice {
	if inForce != u.given || u.started.IsZero() {
		u.started, u.given = at, inForce
	}
	outside := inForce < lower || inForce > upper
	due := at.Sub(u.started) >= vpaMinLifetime && math.Abs(target-inForce)/inForce >= vpaMinChange
	if inForce == 0 || outside || due {
		return Advice{Value: target, Urgent: true}
	}
	return Advice{Value: inForce}
}

type vpaCPU struct {
	histogram  vpa.Histogram
	confidence vpaConfidence
	updater    vpaUpdater
}

func (v *vpaCPU) Observe(at time.Time, cores float64) {
	v.histogram.AddSample(cores, vpaSampleWeight, at)
	v.confidence.note(at)
}

func (v *vpaCPU) Advise(at time.Time, inForce float64) (Advice, bool) {
	if v.histogram.IsEmpty() || v.confidence.days() == 0 {
		return Advice{}, false
	}
	target := v.histogram.Percentile(vpaTarget) * vpaSafetyMargin
	lower := v.confidence.lower(v.histogram.Percentile(vpaLowerBound) * vpaSafetyMargin)
	upper := v.confidence.upper(v.histogram.Percentile(vpaUpperBound) * vpaSafetyMargin)
	return v.updater.decide(at, inForce, target, lower, upper), true
}

// vpaMemory is model.ContainerState: one peak for each day goes into the
// histogram, with what an OOM kill asks for taken as use. Nothing but the decay
// makes it forget: eight days on, a peak weighs a 256th.
type vpaMemory struct {
	histogram     vpa.Histogram
	confidence    vpaConfidence
	updater       vpaUpdater
	windowEnd     time.Time
	peak, oomPeak float64
}

func (v *vpaMemory) Observe(at time.Time, bytes float64) {
	v.add(at, bytes, &v.peak)
	v.confidence.note(at)
}

// OOMKilled is model.ContainerState.RecordOOM.
func (v *vpaMemory) OOMKilled(at time.Time, limitBytes float64) {
	used := max(limitBytes, v.peak)
	v.add(at, max(used+vpaOOMBytes, used*vpaOOMRatio), &v.oomPeak)
}

// add is model.ContainerState.addMemorySample.
func (v *vpaMemory) add(at time.Time, bytes float64, peak *float64) {
	if v.windowEnd.IsZero() {
		v.windowEnd = at
	}
	if at.Before(v.windowEnd) {
		old := max(v.peak, v.oomPeak)
		if old == 0 || bytes <= old {
			return
		}
		v.histogram.SubtractSample(old, 1, v.windowEnd)
	} else {
		v.windowEnd = v.windowEnd.Add(at.Sub(v.windowEnd).Truncate(vpaMemoryInterval) + vpaMemoryInterval)
		v.peak, v.oomPeak = 0, 0
	}
	v.histogram.AddSample(bytes, 1, v.windowEnd)
	*peak = bytes
}

func (v *vpaMemory) Advise(at time.Time, inForce float64) (Advice, bool) {
	if v.histogram.IsEmpty() || v.confidence.days() == 0 {
		return Advice{}, false
	}
	target := v.histogram.Percentile(vpaTarget) * vpaSafetyMargin
	lower := v.confidence.lower(v.histogram.Percentile(vpaLowerBound) * vpaSafetyMargin)
	upper := v.confidence.upper(v.histogram.Percentile(vpaUpperBound) * vpaSafetyMargin)
	return v.updater.decide(at, inForce, target, lower, upper), true
}
