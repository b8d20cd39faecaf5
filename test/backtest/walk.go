// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"time"
)

// hold is for how long advice that is not urgent stays in force: people and
// pipelines take it once a day.
const hold = 24 * time.Hour

// warmUp is what every recommender may look at before the judgement begins: a
// day, or a quarter of a trace that is shorter than four.
func warmUp(t Trace) time.Duration { return min(24*time.Hour, t.Duration()/4) }

// holder keeps what is in force and when it may change.
type holder struct {
	inForce float64
	since   time.Time
	changes int
}

// take takes over advice, at once when it is urgent or nothing is in force yet.
func (h *holder) take(at time.Time, advice Advice, counts bool) {
	due := h.inForce == 0 || at.Sub(h.since) >= hold
	if !due && !advice.Urgent {
		return
	}
	if due {
		h.since = at
	}
	// Less than a part in a hundred is nothing that anybody rolls out.
	if math.Abs(advice.Value-h.inForce) <= 0.01*h.inForce {
		return
	}
	if h.inForce != 0 && counts {
		h.changes++
	}
	h.inForce, h.since = advice.Value, at
}

// CPUScore is what holding a recommender's CPU requests would have cost.
type CPUScore struct {
	UsedHours     float64 // core-hours used
	SlackHours    float64 // core-hours requested and not used
	ShortageHours float64 // core-hours used above the request
	Hours         float64 // hours judged
	AboveHours    float64 // hours in which more was used than requested
	Changes       int     // of what is in force, after the first
	Requests      []Point // what was in force, for pictures
}

// Cost95 is the loss that a 95th percentile minimises, in parts of what was
// used.
func (s CPUScore) Cost95() float64 {
	return (0.05*s.SlackHours + 0.95*s.ShortageHours) / s.UsedHours
}

// Slack is what was requested for nothing, in parts of what was used.
func (s CPUScore) Slack() float64 { return s.SlackHours / s.UsedHours }

// Shortage is what was used above the request, in parts of what was used.
func (s CPUScore) Shortage() float64 { return s.ShortageHours / s.UsedHours }

// Above is the share of the time in which more was used than requested.
func (s CPUScore) Above() float64 { return s.AboveHours / s.Hours }

// WalkCPU asks a recommender all along a trace and says what it cost.
func WalkCPU(t Trace, r CPURecommender) CPUScore {
	var score CPUScore
	var held holder
	step, judged := t.Step(), t.Points[0].At.Add(warmUp(t))
	for i, p := range t.Points {
		judge := !p.At.Before(judged)
		if judge {
			if advice, ok := r.Advise(p.At, held.inForce); ok {
				held.take(p.At, advice, true)
			}
			score.note(p.Value, held.inForce, t.covers(i, step).Hours())
			score.Requests = append(score.Requests, Point{At: p.At, Value: held.inForce})
		} else if advice, ok := r.Advise(p.At, held.inForce); ok {
			held.take(p.At, advice, false)
		}
		r.Observe(p.At.Add(t.covers(i, step)), p.Value)
	}
	score.Changes = held.changes
	return score
}

func (s *CPUScore) note(used, requested, hours float64) {
	s.Hours += hours
	s.UsedHours += used * hours
	s.SlackHours += max(0, requested-used) * hours
	s.ShortageHours += max(0, used-requested) * hours
	if used > requested {
		s.AboveHours += hours
	}
}

// MemoryScore is what holding a recommender's memory limits would have cost.
type MemoryScore struct {
	Kills     int     // OOM kills
	MeanLimit float64 // bytes
	MeanUsed  float64 // bytes
	Changes   int
	Limits    []Point
}

// Waste is what was set aside and not used, in parts of what was used.
func (s MemoryScore) Waste() float64 { return (s.MeanLimit - s.MeanUsed) / s.MeanUsed }

// maxKillsAStep bounds how often a container is killed and started again in one
// step of a trace: the kubelet's back-off is five minutes.
const maxKillsAStep = 3

// WalkMemory asks a recommender all along a trace and says what it cost. A
// container that needs more than its limit is killed, the recommender is told,
// and its next answer is in force at once, as the container starts anew anyway.
func WalkMemory(t Trace, r MemoryRecommender) MemoryScore {
	var score MemoryScore
	var held holder
	step, judged := t.Step(), t.Points[0].At.Add(warmUp(t))
	hours := 0.0
	for i, p := range t.Points {
		judge := !p.At.Before(judged)
		if advice, ok := r.Advise(p.At, held.inForce); ok {
			held.take(p.At, advice, judge)
		}
		covered := t.covers(i, step)
		if judge && held.inForce > 0 {
			score.Kills += killed(&held, r, p)
			h := covered.Hours()
			hours += h
			score.MeanLimit += held.inForce * h
			score.MeanUsed += p.Value * h
			score.Limits = append(score.Limits, Point{At: p.At, Value: held.inForce})
		}
		r.Observe(p.At.Add(covered), p.Value)
	}
	score.MeanLimit /= hours
	score.MeanUsed /= hours
	score.Changes = held.changes
	return score
}

func killed(held *holder, r MemoryRecommender, p Point) int {
	kills := 0
	for p.Value > held.inForce && kills < maxKillsAStep {
		kills++
		r.OOMKilled(p.At, held.inForce)
		if advice, ok := r.Advise(p.At, held.inForce); ok {
			advice.Urgent = true
			held.take(p.At, advice, true)
		}
	}
	return kills
}
