// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"math"
	"time"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// subject is one container that hints are made for.
type subject struct {
	identity *snapshot.ContainerIdentity
	series   *history.Series // nil where the store has no room
	sweep    uint64          // the last sweep that found it

	// What the counters said at the sweep before.
	at        time.Time
	starts    uint64
	before    [numCounters]uint64
	have      [numCounters]bool
	held      readings
	throttled bool    // in the last interval
	mostCores float64 // what the limit allowed in the last interval, 0 without one

	facts hints.Facts
	hint  *snapshot.Hint
	due   time.Time

	windowAt time.Time // when the last window was begun
	windows  int       // how many were taken in
	quota    float64   // of the last window
	watching bool
	cpuLimit float64 // in force now, 0 without one
}

// The counters that samples are made of.
const (
	counterUsage = iota
	counterThrottled
	counterPressure
	counterHigh
	counterRefaults
	numCounters
)

var counterFields = [numCounters]cgroupfs.Field{
	counterUsage:     cgroupfs.CPUUsage,
	counterThrottled: cgroupfs.CPUThrottledPeriods,
	counterPressure:  cgroupfs.MemoryPressureSome,
	counterHigh:      cgroupfs.MemoryEventHigh,
	counterRefaults:  cgroupfs.MemoryRefaultFile,
}

// leastInterval is below what rates say little, maxInterval above what a sample
// says nothing of its time.
const (
	leastInterval = 50 * time.Millisecond
	maxInterval   = 5 * time.Minute
)

// feed makes a sample of what grew since the sweep before.
func (s *subject) feed(c *snapshot.Container, taken time.Time) {
	if s.series == nil {
		return
	}
	if s.starts != 0 && c.Starts > s.starts {
		s.series.Restarted(taken)
	}
	s.starts = c.Starts
	elapsed := taken.Sub(s.at)
	if !s.at.IsZero() && elapsed >= 0 && elapsed < leastInterval {
		return
	}
	usable := !s.at.IsZero() && elapsed > 0 && elapsed <= maxInterval
	s.at = taken
	var grown [numCounters]history.Number
	for i, f := range counterFields {
		v, ok := c.Total.Get(f)
		if usable && ok && s.have[i] && v >= s.before[i] {
			grown[i] = history.Known(float64(v - s.before[i]))
		}
		s.before[i], s.have[i] = v, ok
	}
	s.throttled = grown[counterThrottled].V > 0
	if !c.Ended.IsZero() {
		return // what there was of it is in; silence is not idleness
	}
	sample := history.Sample{At: taken, MemoryHighEvents: grown[counterHigh], FileRefaults: grown[counterRefaults]}
	if usable {
		sample.Elapsed = elapsed
		sample.CPUCores = s.within(c, share(grown[counterUsage], elapsed), elapsed)
		sample.MemoryPressure = share(grown[counterPressure], elapsed)
	}
	if limit := memoryLimit(&c.Current); limit.V > 0 {
		sample.MemoryLimitBytes = history.Known(limit.V)
	}
	if set, ok := c.Current.WorkingSet(); ok {
		sample.WorkingSetBytes = history.Known(float64(set))
		s.held.add(reading{at: taken, used: float64(set), limit: sample.MemoryLimitBytes.V})
	}
	s.series.Add(sample)
}

// within bounds a rate by the limit in force in the interval, of which no more can
// be used: a container's counters are read some time after the sweep began, and not
// always as much later, on a busy node by a good part of a second.
func (s *subject) within(c *snapshot.Container, rate history.Number, elapsed time.Duration) history.Number {
	limit := cpuLimit(&c.Current)
	now := limit.V
	if burst, ok := c.Current.Get(cgroupfs.CPUBurstLimit); ok && now > 0 {
		now += float64(burst) / float64(elapsed.Microseconds())
	}
	most := max(now, s.mostCores)
	if !limit.Known || now == 0 || s.mostCores == 0 {
		most = math.Inf(1)
	}
	s.mostCores = now
	rate.V = min(rate.V, most)
	return rate
}

// share turns microseconds of an interval into seconds a second.
func share(micros history.Number, elapsed time.Duration) history.Number {
	return history.Number{V: micros.V / float64(elapsed.Microseconds()), Known: micros.Known}
}

// factsOf returns what is set for a container now.
func (a *Advisor) factsOf(c *snapshot.Container) hints.Facts {
	id := c.Identity
	f := hints.Facts{
		WorkloadKind: id.WorkloadKind, QoS: c.QoS, QoSKnown: true, Annotation: id.Policy,
		NodeCPUs: a.facts.cpus, NodeMemoryBytes: a.facts.memory, NodeMemoryOfPods: a.facts.ofPods, Runtime: c.Program,
	}
	// Kubernetes said what is requested if it said what kind of container this
	// is: then what is not there is known not to be.
	told := id.Type != ""
	// Where the pod itself requests something the container need not.
	f.CPURequestCores = snapshot.Quantity{
		V: float64(id.CPURequestMillis.N) / 1000, Known: told && !id.PodCPURequestMillis.Known || id.CPURequestMillis.Known,
	}
	f.MemoryRequestBytes = snapshot.Quantity{
		V: float64(id.MemoryRequestBytes.N), Known: told && !id.PodMemoryRequestBytes.Known || id.MemoryRequestBytes.Known,
	}
	f.CPULimitCores, f.MemoryLimitBytes = cpuLimit(&c.Current), memoryLimit(&c.Current)
	return f
}

// cpuLimit returns the limit in cores, known and 0 without one.
func cpuLimit(r *cgroupfs.Reading) snapshot.Quantity {
	quota, ok := r.Get(cgroupfs.CPUQuota)
	period, ok2 := r.Get(cgroupfs.CPUPeriod)
	switch {
	case !ok:
		return snapshot.Quantity{}
	case quota == cgroupfs.Unlimited:
		return snapshot.Quantity{Known: true}
	case !ok2 || period == 0:
		return snapshot.Quantity{}
	}
	return snapshot.Quantity{V: float64(quota) / float64(period), Known: true}
}

func memoryLimit(r *cgroupfs.Reading) snapshot.Quantity {
	limit, ok := r.Get(cgroupfs.MemoryMax)
	if ok && limit == cgroupfs.Unlimited {
		limit = 0
	}
	return snapshot.Quantity{V: float64(limit), Known: ok}
}

// maxEvaluations bounds the hints that one sweep makes anew.
const maxEvaluations = 25

const (
	soon     = 5 * time.Second // while too little was seen for a CPU hint
	often    = time.Minute     // in the first hour
	seldom   = 5 * time.Minute // afterwards
	firstAge = time.Hour
	// veryYoung is for how long a hint for CPU is waited for: what is idle has none.
	veryYoung = 2 * time.Minute
)

// evaluate makes a container's hint anew if it is due and left allows it, and
// returns how many hints it made.
func (a *Advisor) evaluate(s *subject, c *snapshot.Container, now time.Time, left int) int {
	if s.series == nil || left <= 0 {
		return 0
	}
	facts := s.facts
	if c.Ended.IsZero() {
		facts = a.factsOf(c)
	}
	if facts == s.facts && now.Before(s.due) && s.due.Sub(now) <= seldom {
		return 0
	}
	s.facts = facts
	hint := hints.Advise(s.series, facts, a.cfg.Settings, now)
	s.hint = &hint
	a.stats.Evaluations++
	switch {
	case !hint.CPURequestCores.Known && now.Sub(s.series.First()) < veryYoung:
		s.due = now.Add(soon)
	case now.Sub(s.series.First()) < firstAge:
		s.due = now.Add(often)
	default:
		s.due = now.Add(seldom)
	}
	return 1
}
