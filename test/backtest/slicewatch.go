// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/history"
)

// Slicewatch returns slicewatch's own hints, as the agent makes and publishes
// them, without rounding and least amounts. The policy is the one in which the
// memory limit is what is thought to be needed, and no more.
func Slicewatch() Recommender {
	return Recommender{
		Name:   "slicewatch",
		CPU:    func() CPURecommender { return newEngine() },
		Memory: func() MemoryRecommender { return memoryOf{newEngine()} },
	}
}

// engine feeds one container's history.
type engine struct {
	store    *history.Store
	series   *history.Series
	last     time.Time
	settings hints.Settings
	inForce  float64 // the memory limit
}

func newEngine() *engine {
	return &engine{store: history.NewStore(history.Config{}), settings: hints.Settings{Policy: hints.NoCPULimit, Exact: true}}
}

func (e *engine) add(at time.Time, sample history.Sample) {
	if e.series == nil {
		e.series = e.store.Series(history.Key{Namespace: "n", WorkloadKind: "Deployment", Workload: "w", Container: "c"}, at)
		e.last = at.Add(-time.Second)
	}
	e.store.Observe(at)
	sample.At, sample.Elapsed = at, at.Sub(e.last)
	e.series.Add(sample)
	e.last = at
}

// Observe implements CPURecommender.
func (e *engine) Observe(at time.Time, cores float64) {
	e.add(at, history.Sample{CPUCores: history.Known(cores)})
}

// Advise implements CPURecommender. The engine holds what it published for a day
// by itself, so that what it says is taken at once.
func (e *engine) Advise(at time.Time, _ float64) (Advice, bool) {
	if e.series == nil {
		return Advice{}, false
	}
	request := hints.Advise(e.series, hints.Facts{}, e.settings, at).CPURequestCores
	return Advice{Value: request.V, Urgent: true}, request.Known
}

// memoryOf is the same for memory.
type memoryOf struct{ *engine }

// Observe implements MemoryRecommender.
func (m memoryOf) Observe(at time.Time, bytes float64) {
	sample := history.Sample{WorkingSetBytes: history.Known(bytes)}
	if m.inForce > 0 {
		sample.MemoryLimitBytes = history.Known(m.inForce)
	}
	m.add(at, sample)
}

// OOMKilled implements MemoryRecommender.
func (m memoryOf) OOMKilled(at time.Time, limitBytes float64) {
	if m.series != nil {
		m.series.AddOOM(history.OOM{At: at, Scope: history.OOMContainer, LimitBytes: limitBytes, UsedBytes: limitBytes})
	}
}

// Advise implements MemoryRecommender.
func (m memoryOf) Advise(at time.Time, inForce float64) (Advice, bool) {
	m.inForce = inForce
	if m.series == nil {
		return Advice{}, false
	}
	limit := hints.Advise(m.series, hints.Facts{}, m.settings, at).MemoryLimitBytes
	return Advice{Value: limit.V, Urgent: true}, limit.Known
}
