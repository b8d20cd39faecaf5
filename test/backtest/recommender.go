// SPDX-License-Identifier: Apache-2.0

package backtest

import "time"

// Advice is what a recommender says at a moment.
type Advice struct {
	Value float64 // cores, or bytes
	// Urgent says that it should be taken at once and not with the next day's.
	Urgent bool
}

// CPURecommender recommends a CPU request. Times never go back.
type CPURecommender interface {
	// Observe tells what was used in the step that ended at a time.
	Observe(at time.Time, cores float64)
	// Advise says what should be requested from a time on, given that inForce
	// is requested now (0: nothing yet); ok is false while it cannot say.
	Advise(at time.Time, inForce float64) (advice Advice, ok bool)
}

// MemoryRecommender recommends a memory limit. Times never go back.
type MemoryRecommender interface {
	Observe(at time.Time, bytes float64)
	// OOMKilled tells that the container was killed at its limit.
	OOMKilled(at time.Time, limitBytes float64)
	Advise(at time.Time, inForce float64) (advice Advice, ok bool)
}

// Recommender is one of those that are compared.
type Recommender struct {
	Name string
	// CPU and Memory make a recommender for one container each.
	CPU    func() CPURecommender
	Memory func() MemoryRecommender
}
