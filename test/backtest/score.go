// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"time"
)

// longEnough is how long a trace must be to count for the goals: daily
// rhythms cannot be learnt from less.
const longEnough = 7 * 24 * time.Hour

// Result is what every recommender did on one trace.
type Result[S any] struct {
	Trace  Trace
	Scores []S // in the order of the recommenders
}

// Judgement is everything that was walked.
type Judgement struct {
	Recommenders []string
	CPU          []Result[CPUScore]
	Memory       []Result[MemoryScore]
}

// Judge walks every trace with every recommender.
func Judge(traces Traces, recommenders []Recommender, progress func(done, of int)) Judgement {
	var j Judgement
	for _, r := range recommenders {
		j.Recommenders = append(j.Recommenders, r.Name)
	}
	of := len(traces.CPU) + len(traces.Memory)
	for _, t := range traces.CPU {
		result := Result[CPUScore]{Trace: t}
		for _, r := range recommenders {
			result.Scores = append(result.Scores, WalkCPU(t, r.CPU()))
		}
		j.CPU = append(j.CPU, result)
		progress(len(j.CPU), of)
	}
	for _, t := range traces.Memory {
		result := Result[MemoryScore]{Trace: t}
		for _, r := range recommenders {
			result.Scores = append(result.Scores, WalkMemory(t, r.Memory()))
		}
		j.Memory = append(j.Memory, result)
		progress(len(j.CPU)+len(j.Memory), of)
	}
	return j
}

// Long returns the results on traces that are long enough for the goals.
func Long[S any](results []Result[S]) []Result[S] {
	var long []Result[S]
	for _, r := range results {
		if r.Trace.Duration() >= longEnough-r.Trace.Step() {
			long = append(long, r)
		}
	}
	return long
}

// geometricMean returns the mean of ratios, each of which is above 0.
func geometricMean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios)))
}

// CPUGoals compares the first recommender's cost with the others'.
type CPUGoals struct {
	// Against has the geometric mean of the first's cost in parts of each
	// other's; Best in parts of the better of the others on each trace.
	Against []float64
	Best    float64
	// Worst is the highest cost in parts of the better of the others, on
	// WorstTrace.
	Worst      float64
	WorstTrace string
	// MostChanges is of the first, in 14 days, on MostChangesTrace; TooMany on how
	// many traces there were more than mostChanges.
	MostChanges      float64
	MostChangesTrace string
	TooMany          int
}

// mostChanges is how often a hint may change in 14 days.
const mostChanges = 3

// GoalsOfCPU works on results that have at least two recommenders.
func GoalsOfCPU(results []Result[CPUScore]) CPUGoals {
	var goals CPUGoals
	others := len(results[0].Scores) - 1
	against, best := make([][]float64, others), []float64(nil)
	for _, r := range results {
		ours, better := r.Scores[0].Cost95(), math.Inf(1)
		for i, s := range r.Scores[1:] {
			against[i] = append(against[i], ours/s.Cost95())
			better = min(better, s.Cost95())
		}
		best = append(best, ours/better)
		if ours/better > goals.Worst {
			goals.Worst, goals.WorstTrace = ours/better, r.Trace.Name
		}
		// The last point stands for a step.
		changes := float64(r.Scores[0].Changes) * (14 * 24) / (r.Trace.Duration() + r.Trace.Step()).Hours()
		if changes > mostChanges {
			goals.TooMany++
		}
		if changes > goals.MostChanges {
			goals.MostChanges, goals.MostChangesTrace = changes, r.Trace.Name
		}
	}
	for _, ratios := range against {
		goals.Against = append(goals.Against, geometricMean(ratios))
	}
	goals.Best = geometricMean(best)
	return goals
}

// MemoryGoals compares the first recommender's kills and limits with the
// others'.
type MemoryGoals struct {
	Kills []int // by recommender
	// Limit has the geometric mean of the first's mean limit in parts of each
	// other's.
	Limit []float64
	Waste []float64 // mean, by recommender
	// BeatsAll is the share of traces on which the first is killed less often
	// than each of the others, or as often with a lower or equal mean limit.
	BeatsAll float64
}

// GoalsOfMemory works on results that have at least two recommenders.
func GoalsOfMemory(results []Result[MemoryScore]) MemoryGoals {
	n := len(results[0].Scores)
	goals := MemoryGoals{Kills: make([]int, n), Waste: make([]float64, n)}
	limits := make([][]float64, n-1)
	beats := 0
	for _, r := range results {
		ours, all := r.Scores[0], true
		for i, s := range r.Scores {
			goals.Kills[i] += s.Kills
			goals.Waste[i] += s.Waste() / float64(len(results))
			if i > 0 {
				limits[i-1] = append(limits[i-1], ours.MeanLimit/s.MeanLimit)
				all = all && (ours.Kills < s.Kills || ours.Kills == s.Kills && ours.MeanLimit <= s.MeanLimit)
			}
		}
		if all {
			beats++
		}
	}
	for _, ratios := range limits {
		goals.Limit = append(goals.Limit, geometricMean(ratios))
	}
	goals.BeatsAll = float64(beats) / float64(len(results))
	return goals
}
