// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"math"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/exporter"
)

// What the codes of reasons end in, after "cpu_" or "memory_".
const (
	codeHPA        = "hpa"
	codeVPA        = "vpa"
	codeLimitRange = "limit_range"
	codeQuota      = "quota"
)

// resource is CPU or memory: where its amounts are and how they are spelled.
type resource struct {
	name corev1.ResourceName
	// word is what it is called in a sentence, unit what the names of amounts
	// in evidence end in.
	word, unit string
	// step is what amounts are rounded to.
	step float64
	// bounds are the numbers of evidence that say what the container needs
	// as its limit, whatever its policy adds to it.
	bounds []string
	spell  func(float64) string
}

// resources returns CPU and memory.
func resources() []*resource {
	return []*resource{
		{name: corev1.ResourceCPU, word: "CPU", unit: "cores", step: 0.01, bounds: []string{"need_cores", "floor_cores", "highest_cores"}, spell: SpellCores},
		{name: corev1.ResourceMemory, word: "memory", unit: "bytes", step: 16 << 20, bounds: []string{"floor_bytes"}, spell: SpellBytes},
	}
}

// Codes returns the codes of all reasons that Judge adds.
func Codes() []string {
	var all []string
	for _, r := range resources() {
		for _, code := range []string{codeHPA, codeVPA, codeLimitRange, codeQuota} {
			all = append(all, r.code(code))
		}
	}
	return all
}

// Owns says whether a reason comes from this package.
func Owns(reason *exporter.HintReason) bool { return slices.Contains(Codes(), reason.Code) }

func (r *resource) code(code string) string { return string(r.name) + "_" + code }

type amounts struct{ request, limit **float64 }

func (r *resource) of(from *exporter.Resources) amounts {
	if r.name == corev1.ResourceCPU {
		return amounts{&from.CPURequestCores, &from.CPULimitCores}
	}
	return amounts{&from.MemoryRequestBytes, &from.MemoryLimitBytes}
}

// removed says whether a hint is to have no limit.
func (r *resource) removed(h *exporter.ContainerHint) bool {
	return r.name == corev1.ResourceCPU && h.NoCPULimit
}

// needed returns the least limit that the reasons of a hint ask for: what is
// above it is its policy's.
func (r *resource) needed(h *exporter.ContainerHint) float64 {
	least := 0.0
	for _, reason := range h.Reasons {
		if reason.Resource != string(r.name) {
			continue
		}
		for _, name := range r.bounds {
			least = max(least, reason.Evidence[name])
		}
	}
	if hint := r.of(&h.Hint); *hint.request != nil && r.name == corev1.ResourceMemory {
		least = max(least, **hint.request) // the peak and its margin
	}
	return least
}

// up and down round to the steps that users write.
func (r *resource) up(v float64) float64   { return r.steps(math.Ceil(v/r.step - 1e-6)) }
func (r *resource) down(v float64) float64 { return r.steps(math.Floor(v/r.step + 1e-6)) }

func (r *resource) steps(n float64) float64 {
	if r.step < 1 {
		return n / math.Round(1/r.step) // exact for 0.01
	}
	return n * r.step
}

// floor rounds to what can be written at all: a thousandth of a CPU, a byte.
func (r *resource) floor(v float64) float64 {
	if r.step < 1 {
		return math.Floor(v*1000+1e-6) / 1000
	}
	return math.Floor(v + 1e-6)
}

// quantity returns an amount of a list, in cores or bytes.
func quantity(list corev1.ResourceList, name corev1.ResourceName) (float64, bool) {
	q, ok := list[name]
	return q.AsApproximateFloat64(), ok
}

// percent spells a share of the request.
func percent(v float64) string { return strconv.FormatFloat(math.Round(v), 'f', 0, 64) + "%" }

func same(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }
