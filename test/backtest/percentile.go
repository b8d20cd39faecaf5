// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"container/heap"
	"slices"
	"time"
)

// The percentile recommender's usual strategy ("simple" with OOM data).
const (
	percentileWindow     = 14 * 24 * time.Hour
	percentileCPU        = 0.95
	percentileMemory     = 1.15
	percentileMemoryOOM  = 1.25
	percentileMinPoints  = 2
	percentileMaxSamples = 1 << 20
)

// Percentile returns the recommender that is run over Prometheus' data: the
// 95th percentile of CPU use and the highest memory use and 15 % of the last 14
// days, and a quarter more than the limit that something was OOM killed at.
func Percentile() Recommender {
	return Recommender{
		Name:   "percentile",
		CPU:    func() CPURecommender { return &percentileOfCPU{} },
		Memory: func() MemoryRecommender { return &percentileOfMemory{} },
	}
}

// percentileOfCPU keeps the window's values in order of time; they are sorted
// only when it is asked at the time of day at which advice is taken.
type percentileOfCPU struct {
	points []Point
	asked  time.Time
	last   Advice
}

func (p *percentileOfCPU) Observe(at time.Time, cores float64) {
	p.points = append(trim(p.points, at), Point{At: at, Value: cores})
}

func trim(points []Point, at time.Time) []Point {
	old := 0
	for old < len(points) && at.Sub(points[old].At) > percentileWindow {
		old++
	}
	if len(points)-old > percentileMaxSamples {
		old = len(points) - percentileMaxSamples
	}
	return points[old:]
}

func (p *percentileOfCPU) Advise(at time.Time, _ float64) (Advice, bool) {
	if len(p.points) < percentileMinPoints {
		return Advice{}, false
	}
	if !p.asked.IsZero() && at.Sub(p.asked) < time.Hour {
		return p.last, true // it is run by hand or by cron, not at each sample
	}
	values := make([]float64, len(p.points))
	for i, point := range p.points {
		values[i] = point.Value
	}
	slices.Sort(values)
	p.asked, p.last = at, Advice{Value: quantile(values, percentileCPU)}
	return p.last, true
}

// quantile is PromQL's quantile_over_time of sorted values.
func quantile(sorted []float64, q float64) float64 {
	rank := q * float64(len(sorted)-1)
	low := int(rank)
	high := min(low+1, len(sorted)-1)
	weight := rank - float64(low)
	return sorted[low]*(1-weight) + sorted[high]*weight
}

// percentileOfMemory keeps the highest values of the window.
type percentileOfMemory struct {
	seen  int
	peaks highest
	kills highest
}

func (p *percentileOfMemory) Observe(at time.Time, bytes float64) {
	p.seen++
	heap.Push(&p.peaks, Point{At: at, Value: bytes})
}

func (p *percentileOfMemory) OOMKilled(at time.Time, limitBytes float64) {
	heap.Push(&p.kills, Point{At: at, Value: limitBytes})
}

func (p *percentileOfMemory) Advise(at time.Time, _ float64) (Advice, bool) {
	if p.seen < percentileMinPoints {
		return Advice{}, false
	}
	limit := p.peaks.within(at) * percentileMemory
	killedAt := p.kills.within(at)
	return Advice{Value: max(limit, killedAt*percentileMemoryOOM), Urgent: killedAt*percentileMemoryOOM > limit}, true
}

// highest is a heap with the highest value first.
type highest []Point

func (h highest) Len() int           { return len(h) }
func (h highest) Less(i, j int) bool { return h[i].Value > h[j].Value }
func (h highest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *highest) Push(x any)        { *h = append(*h, x.(Point)) }
func (h *highest) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// within returns the highest value of the window before at, or 0.
func (h *highest) within(at time.Time) float64 {
	for len(*h) > 0 && at.Sub((*h)[0].At) > percentileWindow {
		heap.Pop(h)
	}
	if len(*h) == 0 {
		return 0
	}
	return (*h)[0].Value
}
