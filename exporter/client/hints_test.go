// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// number is a float64 whatever its argument's literal looks like.
func number(v float64) *float64 {
	n := v
	return &n
}

const mi = 1 << 20

// hintList has a workload with two pods and a sidecar, one of each kind that
// cannot be patched, and one of which nothing is known.
func hintList() *exporter.HintList {
	at := time.Date(2027, 1, 11, 12, 0, 0, 0, time.UTC)
	hint := func(kind, workload, pod, container string, cpu, memory float64) exporter.ContainerHint {
		return exporter.ContainerHint{
			Namespace: "shop", WorkloadKind: kind, Workload: workload, Pod: pod, Container: container, Type: "app", QoS: "burstable",
			Now:    exporter.Resources{CPURequestCores: number(0.25), CPULimitCores: number(0.5), MemoryRequestBytes: number(256 * mi), MemoryLimitBytes: number(512 * mi)},
			Hint:   exporter.Resources{CPURequestCores: number(cpu), CPULimitCores: number(2 * cpu), MemoryRequestBytes: number(memory * mi), MemoryLimitBytes: number(2 * memory * mi)},
			Policy: "burstable", Confidence: 0.75, Published: &at,
			Reasons: []exporter.HintReason{{Code: "cpu_demand", Resource: "cpu", Text: "95% of the time it used at most 205m."}, {Code: "memory_peak", Resource: "memory", Text: "The highest working set is 100Mi."}},
		}
	}
	urgent := hint("Deployment", "web", "web-1", "app", 0.3, 112)
	urgent.Urgent = true
	second := hint("Deployment", "web", "web-1", "proxy", 0.02, 32)
	second.Type, second.NoCPULimit, second.Hint.CPULimitCores = "sidecar", true, nil
	unknown := hint("StatefulSet", "db", "db-0", "mongod", 1, 1)
	unknown.Hint, unknown.Published, unknown.Now = exporter.Resources{}, nil, exporter.Resources{}
	unknown.Reasons = []exporter.HintReason{{Code: "cpu_few_samples", Resource: "cpu", Text: "No CPU hint yet."}}
	partly := hint("CronJob", "report", "report-29-x", "run", 0, 64)
	partly.Hint.CPURequestCores, partly.Hint.CPULimitCores = nil, nil
	return &exporter.HintList{Time: at, Hints: []exporter.ContainerHint{
		urgent, second, hint("Deployment", "web", "web-0", "app", 0.21, 144), unknown, partly,
		hint("Job", "once", "once-x", "run", 1, 64), hint("", "", "alone", "app", 1, 64), hint("StaticPod", "etcd", "etcd-node", "etcd", 1, 64),
		hint("Rollout", "canary", "canary-x", "app", 1, 64),
	}}
}

func TestWriteHints(t *testing.T) {
	for _, form := range HintForms() {
		var b bytes.Buffer
		if err := WriteHints(&b, hintList(), form, conflicts.Findings{}); err != nil {
			t.Fatal(err)
		}
		holdsGolden(t, "hints."+form, b.String())
	}
	for _, form := range HintForms() {
		var b bytes.Buffer
		if err := WriteHints(&b, &exporter.HintList{}, form, conflicts.Findings{}); err != nil || b.Len() == 0 {
			t.Errorf("%s without hints: %q, %v", form, b.String(), err)
		}
	}
}

// TestWriteHintsOfCluster holds what becomes of hints that the cluster has
// something against: amounts are capped, the reasons stand in every form.
func TestWriteHintsOfCluster(t *testing.T) {
	target := func(kind, name string) autoscalingv2.CrossVersionObjectReference {
		return autoscalingv2.CrossVersionObjectReference{Kind: kind, Name: name}
	}
	in := metav1.ObjectMeta{Name: "team", Namespace: "shop"}
	cpu := autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(70))}}
	found := conflicts.Objects{
		HPAs: []autoscalingv2.HorizontalPodAutoscaler{{ObjectMeta: in, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: target("Deployment", "web"), Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &cpu}},
		}}},
		VPAs: []vpav1.VerticalPodAutoscaler{{ObjectMeta: in, Spec: vpav1.VerticalPodAutoscalerSpec{
			TargetRef: &autoscalingv1.CrossVersionObjectReference{Kind: "CronJob", Name: "report"}, UpdatePolicy: &vpav1.PodUpdatePolicy{UpdateMode: new(vpav1.UpdateModeInitial), MinReplicas: new(int32(2))},
			ResourcePolicy: &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "other", Mode: new(vpav1.ContainerScalingModeOff)}}},
		}}},
		LimitRanges: []corev1.LimitRange{{ObjectMeta: in, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
		}}}}},
	}
	for _, form := range []string{Table, Wide, Patch, VPA} {
		list := hintList()
		list.Hints = list.Hints[:5]
		var b bytes.Buffer
		if err := WriteHints(&b, list, form, conflicts.Judge(list, found)); err != nil {
			t.Fatal(err)
		}
		holdsGolden(t, "hints-cluster."+form, b.String())
	}
}

func holdsGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs, -update writes it anew (-want +got):\n%s", path, diff)
	}
}

// A patch never leaves a request above its limit: the API server refuses that.
func TestPatchKeepsRequestsBelowLimits(t *testing.T) {
	h := exporter.ContainerHint{
		Now:  exporter.Resources{CPURequestCores: number(2), MemoryLimitBytes: number(100 * mi)},
		Hint: exporter.Resources{CPULimitCores: number(1), MemoryRequestBytes: number(200 * mi)},
	}
	if p := resources(&h); !p.empty() {
		t.Errorf("got %+v", p)
	}
}

// A pod is resized within its class, and keeps its limits.
func TestPatchOfAPod(t *testing.T) {
	all := func(request, limit float64) exporter.Resources {
		return exporter.Resources{CPURequestCores: &request, CPULimitCores: &limit, MemoryRequestBytes: number(request * 1000 * mi), MemoryLimitBytes: number(limit * 1000 * mi)}
	}
	half := exporter.Resources{CPURequestCores: number(0.3)}
	for name, test := range map[string]struct {
		qos          string
		now, hint    exporter.Resources
		noLimit      bool
		want, refuse string
	}{
		"burstable":                     {qos: "burstable", now: all(1, 2), hint: all(0.5, 2), want: "cpu: 500m"},
		"burstable, all equal":          {qos: "burstable", now: all(1, 2), hint: all(0.5, 0.5), refuse: "within its QoS class, which is burstable"},
		"guaranteed":                    {qos: "guaranteed", now: all(1, 1), hint: all(0.5, 0.5), want: "cpu: 500m"},
		"guaranteed, apart":             {qos: "guaranteed", now: all(1, 1), hint: all(0.5, 1), refuse: "which is guaranteed"},
		"guaranteed, the limit is kept": {qos: "guaranteed", now: all(1, 1), hint: half, refuse: "which is guaranteed"},
		"best effort":                   {qos: "besteffort", hint: all(0.5, 1), refuse: "which is besteffort"},
		"no limit":                      {qos: "burstable", now: all(1, 2), hint: half, noLimit: true, want: "requests:\n          cpu: 300m\n"},
	} {
		at := time.Now()
		h := exporter.ContainerHint{Namespace: "shop", Pod: "alone", Container: "app", QoS: test.qos, Now: test.now, Hint: test.hint, NoCPULimit: test.noLimit, Published: &at}
		var b bytes.Buffer
		if err := WriteHints(&b, &exporter.HintList{Hints: []exporter.ContainerHint{h}}, Patch, conflicts.Findings{}); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if refused := strings.Contains(got, "no patch"); refused != (test.refuse != "") || !strings.Contains(got, test.want) || !strings.Contains(got, test.refuse) || strings.Contains(got, "null") {
			t.Errorf("%s: got\n%s", name, got)
		}
		if strings.Contains(got, "kubectl") && !strings.Contains(got, "pod alone --subresource=resize --patch-file=FILE") {
			t.Errorf("%s: it does not say how to apply it:\n%s", name, got)
		}
	}
}

// Two pods of a workload may follow two policies while one of them is rolled out.
func TestTwoPolicies(t *testing.T) {
	at := time.Now()
	var list exporter.HintList
	for i, hint := range []exporter.Resources{{CPURequestCores: number(0.6)}, {CPURequestCores: number(0.2), CPULimitCores: number(0.4)}} {
		list.Hints = append(list.Hints, exporter.ContainerHint{
			Namespace: "shop", Pod: []string{"web-0", "web-1"}[i], WorkloadKind: "Deployment", Workload: "web", Container: "app", Hint: hint, NoCPULimit: i == 0, Published: &at,
		})
	}
	for _, form := range []string{Patch, VPA} {
		var b bytes.Buffer
		if err := WriteHints(&b, &list, form, conflicts.Findings{}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); strings.Count(got, "cpu: 600m") != 2 {
			t.Errorf("%s: a request above its limit:\n%s", form, got)
		}
	}
}
