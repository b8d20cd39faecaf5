// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"fmt"
	"math"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/exporter"
)

// TestLimitRangeIsKept holds random hints against random LimitRanges: what comes
// out is what the API server takes, and in order.
func TestLimitRangeIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := func(name string, least, most int) float64 { return float64(rapid.IntRange(least, most).Draw(t, name)) }
		request, limit := step("request", 1, 100), 0.0
		limit = math.Ceil(request * step("times", 10, 80) / 10)
		h := hint("web-1", "app", usual, [4]float64{request / 100, limit / 100, request * 16, limit * 16})
		if rapid.Bool().Draw(t, "needs") {
			h = because(because(h, "cpu", "need_cores", limit/120), "memory", "floor_bytes", limit*14*mi)
		}
		if rapid.Bool().Draw(t, "no CPU limit") {
			h = unlimited(h)
		}
		if h.Hint.CPULimitCores != nil && rapid.Bool().Draw(t, "no request") {
			// As of one that is throttled before its use is known.
			h.Hint.CPURequestCores, h.Hint.MemoryRequestBytes = nil, nil
		}
		item := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{}, Max: corev1.ResourceList{}, MaxLimitRequestRatio: corev1.ResourceList{}}
		set := func(list corev1.ResourceList, name string, units float64) {
			if units > 0 {
				list[corev1.ResourceCPU] = apiresource.MustParse(fmt.Sprintf("%.0fm", units*10))
				list[corev1.ResourceMemory] = apiresource.MustParse(fmt.Sprintf("%.0fMi", units*16))
			}
			t.Log(name, units)
		}
		least := step("min", 0, 50)
		set(item.Min, "min", least)
		if rapid.Bool().Draw(t, "has max") {
			set(item.Max, "max", least+step("above min", 1, 300))
		}
		if rapid.Bool().Draw(t, "has ratio") {
			ratio := apiresource.MustParse(fmt.Sprintf("%.0fm", step("ratio", 1000, 6000)))
			item.MaxLimitRequestRatio = corev1.ResourceList{corev1.ResourceCPU: ratio, corev1.ResourceMemory: ratio}
		}
		list := exporter.HintList{Hints: []exporter.ContainerHint{h}}
		ranges := corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}
		ranges.Name, ranges.Namespace = "team", "shop"
		Judge(&list, Objects{LimitRanges: []corev1.LimitRange{ranges}})
		for _, r := range resources() {
			holds(t, r, &item, &list.Hints[0])
		}
	})
}

// holds are the constraints of plugin/pkg/admission/limitranger.
func holds(t *rapid.T, r *resource, item *corev1.LimitRangeItem, h *exporter.ContainerHint) {
	a := r.of(&h.Hint)
	request, hinted := **r.of(&h.Now).request, *a.request != nil
	if hinted {
		request = **a.request
	}
	if least, ok := quantity(item.Min, r.name); ok && request < least*(1-hair) {
		t.Fatalf("the request of %s is below %s", r.spell(request), r.spell(least))
	}
	if *a.limit == nil {
		if !r.removed(h) || len(item.Max)+len(item.MaxLimitRequestRatio) > 0 {
			t.Fatalf("no limit of %s", r.word)
		}
		return
	}
	limit := **a.limit
	for _, v := range []float64{request, limit} {
		if written := v / math.Min(1, r.step/10); math.Abs(written-math.Round(written)) > 1e-6 {
			t.Fatalf("%g %s cannot be written", v, r.unit)
		}
	}
	if hinted && request > limit*(1+hair) {
		t.Fatalf("the request of %s is above the limit of %s", r.spell(request), r.spell(limit))
	}
	if least, ok := quantity(item.Min, r.name); ok && limit < least*(1-hair) {
		t.Fatalf("the limit of %s is below %s", r.spell(limit), r.spell(least))
	}
	if most, ok := quantity(item.Max, r.name); ok && limit > most*(1+hair) {
		t.Fatalf("the limit of %s is above %s", r.spell(limit), r.spell(most))
	}
	if ratio, ok := quantity(item.MaxLimitRequestRatio, r.name); ok && limit > ratio*request*(1+hair) {
		t.Fatalf("the limit of %s is more than %g x the request of %s", r.spell(limit), ratio, r.spell(request))
	}
}
