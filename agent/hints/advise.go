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

	memory history.Memory
	// need is the memory that the container needs, limitFloor what its limit
	// must not be below.
	need, limitFloor float64

	now                             history.Published // what the evidence asks for
	published                       history.Published // what users see
	burst                           snapshot.Quantity
	cpuConfidence, memoryConfidence float64
	urgentCPU, urgentMemory         bool
	reasons                         [2][]snapshot.Reason // by resource
}

func compute(series *history.Series, facts Facts, settings Settings, at time.Time) *advice {
	a := &advice{series: series, facts: facts, settings: settings, at: at, published: series.Published(), memory: series.Memory(at)}
	var reasons []snapshot.Reason
	a.policy, reasons = choosePolicy(&a.facts, settings)
	a.reasons[snapshot.ResourceCPU] = reasons
	a.now.Policy = string(a.policy)
	a.cpuRequest()
	a.cpuLimit()
	a.memoryPeak()
	a.memoryOOM()
	a.memoryStrain()
	a.memoryAmounts()
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
		CPUBurstSeconds: a.burst, Policy: string(a.policy), Published: p.At,
		Urgent: a.urgentCPU || a.urgentMemory,
	}
	h.NoCPULimit = p.CPURequestCores.Known && a.policy == NoCPULimit
	if !a.settings.Exact {
		round(&h)
	}
	switch {
	case p.CPURequestCores.Known && p.MemoryLimitBytes.Known:
		h.Confidence = min(a.cpuConfidence, a.memoryConfidence)
	case p.CPURequestCores.Known:
		h.Confidence = a.cpuConfidence
	case p.MemoryLimitBytes.Known:
		h.Confidence = a.memoryConfidence
	}
	h.Reasons = append(h.Reasons, a.reasons[snapshot.ResourceCPU]...)
	h.Reasons = append(h.Reasons, a.reasons[snapshot.ResourceMemory]...)
	return h
}

func quantity(n history.Number) snapshot.Quantity { return snapshot.Quantity{V: n.V, Known: n.Known} }
