// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// Advise returns the hint for a container at a time, and notes in its history
// what it published: amounts are held for a day, urgent ones replaced at once.
func Advise(series *history.Series, facts Facts, settings Settings, at time.Time) snapshot.Hint {
	a := compute(series, facts, settings, at)
	a.hold()
	return a.hint()
}

// Compute returns what Advise would publish if nothing was held.
func Compute(series *history.Series, facts Facts, settings Settings, at time.Time) snapshot.Hint {
	a := compute(series, facts, settings, at)
	a.now.At = at
	a.published = a.now
	return a.hint()
}

// advice is a hint in the making.
type advice struct {
	series   *history.Series
	facts    Facts
	settings Settings
	at       time.Time
	policy   Policy

	peaks history.Peaks
	// need is the memory that the container needs, limitFloor what its limit
	// must not be below.
	need, limitFloor float64

	// span is what the CPU request is made of, beyond how many times its 95th
	// percentile that is.
	span   history.Span
	beyond float64

	now                             history.Published // what the evidence asks for
	published                       history.Published // what users see
	burst                           snapshot.Quantity
	cpuConfidence, memoryConfidence float64
	// What cannot wait for a day.
	urgentRequest, urgentLimit, urgentMemory bool
	// suffers says that what is set for the container now hurts it, idle that
	// its CPU was hardly used lately.
	suffers, idle bool
	reasons       [2][]snapshot.Reason // by resource
}

func compute(series *history.Series, facts Facts, settings Settings, at time.Time) *advice {
	a := &advice{series: series, facts: facts, settings: settings, at: at, published: series.Published(), peaks: series.Peaks(at)}
	a.choosePolicy()
	a.cpuRequest()
	a.cpuLimit()
	a.memoryPeak()
	a.memoryOOM()
	a.memoryStrain()
	a.memoryAmounts()
	a.leak()
	a.nodeCap()
	return a
}

func (a *advice) say(code snapshot.ReasonCode, resource snapshot.Resource, text string, numbers ...snapshot.Evidence) {
	a.reasons[resource] = append(a.reasons[resource], snapshot.Reason{Code: code, Resource: resource, Text: text, Evidence: numbers})
}

func evidence(name string, value float64) snapshot.Evidence {
	return snapshot.Evidence{Name: name, Value: value}
}

// hint puts together what is shown.
func (a *advice) hint() snapshot.Hint {
	p := a.published
	h := snapshot.Hint{
		CPURequestCores: quantity(p.CPURequestCores), CPULimitCores: quantity(p.CPULimitCores),
		MemoryRequestBytes: quantity(p.MemoryRequestBytes), MemoryLimitBytes: quantity(p.MemoryLimitBytes),
		CPUBurstSeconds: a.burst, Policy: string(a.policy),
		Urgent: a.urgentRequest || a.urgentLimit || a.urgentMemory || a.suffers,
	}
	h.NoCPULimit = p.CPURequestCores.Known && a.policy == NoCPULimit
	if p.CPURequestCores.Known || p.CPULimitCores.Known || p.MemoryLimitBytes.Known {
		h.Published = p.At
	}
	if !a.settings.Exact {
		round(&h)
	}
	a.overProvisioned(&h)
	a.missing(&h)
	a.qosClass()
	a.runtimeSettings(&h)
	a.sayHeld()
	h.Confidence = a.confidence(&h)
	h.Reasons = append(h.Reasons, a.reasons[snapshot.ResourceCPU]...)
	h.Reasons = append(h.Reasons, a.reasons[snapshot.ResourceMemory]...)
	return h
}

// confidence returns that of the least sure of what is hinted at.
func (a *advice) confidence(h *snapshot.Hint) float64 {
	cpu := h.CPURequestCores.Known || h.CPULimitCores.Known
	switch {
	case cpu && h.MemoryLimitBytes.Known:
		return min(a.cpuConfidence, a.memoryConfidence)
	case cpu:
		return a.cpuConfidence
	case h.MemoryLimitBytes.Known:
		return a.memoryConfidence
	}
	return 0
}

func quantity(n history.Number) snapshot.Quantity { return snapshot.Quantity{V: n.V, Known: n.Known} }
