// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/slicewatch/slicewatch/exporter"
)

var update = flag.Bool("update", false, "write expected outputs anew")

const mi = 1 << 20

// hint is the hint of a container of the Deployment web: amounts in cores and
// Mi, of which those below 0 are not there.
func hint(pod, container string, now, amounts [4]float64) exporter.ContainerHint {
	resources := func(v [4]float64) (r exporter.Resources) {
		for i, to := range []**float64{&r.CPURequestCores, &r.CPULimitCores, &r.MemoryRequestBytes, &r.MemoryLimitBytes} {
			if n := v[i]; n >= 0 && i < 2 {
				*to = &n
			} else if n >= 0 {
				n *= mi
				*to = &n
			}
		}
		return r
	}
	return exporter.ContainerHint{
		Namespace: "shop", Pod: pod, Container: container, Type: "app", WorkloadKind: "Deployment", Workload: "web",
		Now: resources(now), Hint: resources(amounts), Policy: "burstable",
	}
}

// because adds a number that a limit must not be below.
func because(h exporter.ContainerHint, resource, name string, v float64) exporter.ContainerHint {
	h.Reasons = append(h.Reasons, exporter.HintReason{Code: resource + "_before", Resource: resource, Evidence: map[string]float64{name: v}})
	return h
}

func unlimited(h exporter.ContainerHint) exporter.ContainerHint {
	h.Hint.CPULimitCores, h.NoCPULimit = nil, true
	return h
}

func of(h exporter.ContainerHint, kind, workload string) exporter.ContainerHint {
	h.WorkloadKind, h.Workload = kind, workload
	return h
}

// object reads an object of the namespace shop from YAML, every field known.
func object[T any](t *testing.T, text string) T {
	t.Helper()
	raw, err := yaml.ToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var o T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

func hpa(t *testing.T, metrics, status string) Objects {
	return Objects{HPAs: []autoscalingv2.HorizontalPodAutoscaler{object[autoscalingv2.HorizontalPodAutoscaler](t, `
metadata: {namespace: shop, name: web}
spec: {scaleTargetRef: {kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 10, metrics: [`+metrics+`]}
status: {`+status+`}`)}}
}

func vpa(t *testing.T, spec, status string) Objects {
	return Objects{VPAs: []vpav1.VerticalPodAutoscaler{object[vpav1.VerticalPodAutoscaler](t, `
metadata: {namespace: shop, name: web-vpa}
spec: {targetRef: {kind: Deployment, name: web}`+spec+`}
status: {`+status+`}`)}}
}

func limitRange(t *testing.T, item string) Objects {
	return Objects{LimitRanges: []corev1.LimitRange{object[corev1.LimitRange](t, `
metadata: {namespace: shop, name: team}
spec: {limits: [{`+item+`}]}`)}}
}

func quota(t *testing.T, spec, used string) Objects {
	return Objects{Quotas: []corev1.ResourceQuota{object[corev1.ResourceQuota](t, `
metadata: {namespace: shop, name: team}
spec: {`+spec+`}
status: {used: {`+used+`}}`)}}
}

// pods adds pods of the Deployment web, of which one is done.
func pods(t *testing.T, o Objects, n int, spec string) Objects {
	for i := range n + 1 {
		p := object[corev1.Pod](t, fmt.Sprintf("metadata: {namespace: shop, name: web-%d}\nspec: {%s}", i, spec))
		if i == n {
			p.Status.Phase = corev1.PodSucceeded
		}
		o.Pods = append(o.Pods, Pod{Workload: Workload{"shop", "Deployment", "web"}, Pod: &p})
	}
	o.PodsKnown = []string{"shop"}
	return o
}

type scenario struct {
	name  string
	found Objects
	hints []exporter.ContainerHint
}

var (
	usual = [4]float64{0.25, 0.5, 256, 512}
	small = [4]float64{0.21, 0.42, 144, 288}
)

func autoscalers(t *testing.T) []scenario {
	const cpu70 = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}"
	one := []exporter.ContainerHint{hint("web-1", "app", usual, small)}
	two := []exporter.ContainerHint{hint("web-1", "app", usual, small), hint("web-1", "proxy", [4]float64{0.1, 0.2, 64, 64}, [4]float64{0.02, 0.04, 64, 64})}
	bare := []exporter.ContainerHint{hint("web-1", "app", usual, small), hint("web-1", "proxy", [4]float64{-1, -1, -1, -1}, [4]float64{0.02, 0.04, 64, 64})}
	unknown := []exporter.ContainerHint{hint("web-1", "app", usual, small), hint("web-1", "proxy", [4]float64{-1, -1, -1, -1}, [4]float64{-1, -1, -1, -1})}
	target := "recommendation: {containerRecommendations: [{containerName: app, target: {cpu: 300m, memory: 200Mi}}]}"
	return []scenario{
		{"HPA by CPU", hpa(t, cpu70, ""), one},
		{"HPA that would add pods", hpa(t, cpu70, "currentReplicas: 4, desiredReplicas: 4, currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 68}}}]"), one},
		{"HPA that stays within its tolerance", hpa(t, cpu70, "currentReplicas: 4, desiredReplicas: 4, currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 60}}}]"), one},
		{"HPA at its most pods", hpa(t, cpu70, "currentReplicas: 10, desiredReplicas: 10, currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 90}}}]"), one},
		{"HPA by memory, raised", hpa(t, "{type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}", ""),
			[]exporter.ContainerHint{hint("web-1", "app", usual, [4]float64{-1, -1, 512, 1024})}},
		{"HPA over two containers", hpa(t, cpu70, ""), two},
		{"HPA by one container", hpa(t, "{type: ContainerResource, containerResource: {name: cpu, container: app, target: {type: Utilization, averageUtilization: 50}}}",
			"currentReplicas: 2, desiredReplicas: 2, currentMetrics: [{type: ContainerResource, containerResource: {name: cpu, container: app, current: {averageUtilization: 60}}}]"), two},
		{"HPA that lacks a request", hpa(t, cpu70, ""), bare},
		{"HPA that goes on lacking one", hpa(t, cpu70, ""), unknown},
		{"HPA by an amount", hpa(t, "{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 200m}}}", ""), one},
		{"HPA of another workload", hpa(t, cpu70, ""), []exporter.ContainerHint{of(hint("web-1", "app", usual, small), "StatefulSet", "web")}},
		{"HPA, nothing to change", hpa(t, cpu70, ""), []exporter.ContainerHint{hint("web-1", "app", usual, usual)}},
		{"HPA, two pods: the larger hint counts", hpa(t, cpu70, ""), []exporter.ContainerHint{hint("web-1", "app", usual, small), hint("web-2", "app", usual, [4]float64{0.3, 0.6, 128, 256})}},
		{"VPA without a mode", vpa(t, "", target), one},
		{"VPA at the start only, requests only, one resource", vpa(t, ", updatePolicy: {updateMode: Initial}, resourcePolicy: {containerPolicies: [{containerName: '*', controlledResources: [cpu], controlledValues: RequestsOnly}]}", ""), one},
		{"VPA not for this container", vpa(t, ", updatePolicy: {updateMode: Auto}, resourcePolicy: {containerPolicies: [{containerName: '*'}, {containerName: app, mode: 'Off'}]}", target), two},
		{"VPA that only recommends", vpa(t, ", updatePolicy: {updateMode: 'Off'}", target), one},
	}
}

func limitRanges(t *testing.T) []scenario {
	one := func() []exporter.ContainerHint { return []exporter.ContainerHint{hint("web-1", "app", usual, small)} }
	needs := func(resource, name string, v float64) []exporter.ContainerHint {
		return []exporter.ContainerHint{because(hint("web-1", "app", usual, [4]float64{0.21, 0.89, 144, 768}), resource, name, v)}
	}
	pair := []exporter.ContainerHint{
		because(hint("web-1", "app", usual, [4]float64{0.5, 2, 512, 1024}), "cpu", "need_cores", 1.2),
		hint("web-1", "proxy", usual, [4]float64{0.1, 0.5, 64, 128}),
	}
	held := []exporter.ContainerHint{
		hint("web-1", "app", [4]float64{0.25, 0.5, 512, 1024}, [4]float64{-1, -1, -1, -1}), hint("web-1", "proxy", usual, [4]float64{0.1, 0.2, 100, 200}),
	}
	// Of one that is throttled before its use is known.
	early := func(limit float64) []exporter.ContainerHint {
		return []exporter.ContainerHint{because(hint("web-1", "app", usual, [4]float64{-1, limit, -1, -1}), "cpu", "need_cores", limit)}
	}
	both := func(item string) Objects {
		o := limitRange(t, item)
		o.Quotas = quota(t, "hard: {limits.cpu: '9'}", "limits.cpu: '1'").Quotas
		return o
	}
	return []scenario{
		{"max of a policy's limit", limitRange(t, "type: Container, max: {cpu: 400m}"), one()},
		{"max below what it needs", limitRange(t, "type: Container, max: {cpu: 500m, memory: 512Mi}"), needs("cpu", "need_cores", 0.89)},
		{"max below an OOM floor", limitRange(t, "type: Container, max: {memory: 512Mi}"), needs("memory", "floor_bytes", 768*mi)},
		{"max below the request too", limitRange(t, "type: Container, max: {cpu: 100m}"), one()},
		{"min", limitRange(t, "type: Container, min: {cpu: 250m, memory: 300Mi}"), one()},
		{"ratio of a policy's limit", limitRange(t, "type: Container, maxLimitRequestRatio: {cpu: 1500m, memory: 1500m}"), one()},
		{"ratio of a needed limit", limitRange(t, "type: Container, maxLimitRequestRatio: {cpu: '2'}"), needs("cpu", "need_cores", 0.89)},
		{"ratio of an OOM floor", limitRange(t, "type: Container, maxLimitRequestRatio: {memory: '2'}"), needs("memory", "floor_bytes", 768*mi)},
		{"min, and a hint for the limit only", limitRange(t, "type: Container, min: {cpu: 300m}"), early(0.28)},
		{"ratio, and a hint for the limit only", limitRange(t, "type: Container, maxLimitRequestRatio: {cpu: '2'}"), early(0.8)},
		{"no limit, but a default", limitRange(t, "type: Container, default: {cpu: 500m}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"no limit, a default below the request", limitRange(t, "type: Container, default: {cpu: 100m}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"no limit, but a max", limitRange(t, "type: Container, max: {cpu: '2'}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"within all of it", limitRange(t, "type: Container, max: {cpu: '2', memory: 1Gi}, min: {cpu: 10m}, maxLimitRequestRatio: {cpu: '4'}"), one()},
		{"no hint", limitRange(t, "type: Container, max: {cpu: 100m}, min: {memory: 1Gi}"), []exporter.ContainerHint{hint("web-1", "app", usual, [4]float64{-1, -1, -1, -1})}},
		{"max of the pod", limitRange(t, "type: Pod, max: {cpu: '2', memory: 1Gi}"), pair},
		{"max of the pod below what it needs", limitRange(t, "type: Pod, max: {cpu: '1'}"), []exporter.ContainerHint{pair[0], pair[1]}},
		{"max of the pod without a limit", limitRange(t, "type: Pod, max: {cpu: '1'}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"max of the pod that another limit holds", limitRange(t, "type: Pod, max: {memory: 1Gi}"), held},
		{"max of the pod that another limit holds but for a hair", limitRange(t, "type: Pod, max: {cpu: 500001u}"), held},
		{"max of the pod, one container without a limit", limitRange(t, "type: Pod, max: {cpu: '1'}"), []exporter.ContainerHint{unlimited(pair[0]), pair[1]}},
		{"max of the pod, requests above it", limitRange(t, "type: Pod, max: {cpu: 550m}"), []exporter.ContainerHint{unlimited(pair[0]), pair[1]}},
		{"max of the pod before that of its containers", limitRange(t, "type: Pod, max: {cpu: 300m}}, {type: Container, max: {cpu: 400m}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"min of the pod, limits below it", limitRange(t, "type: Pod, min: {cpu: 600m}"), []exporter.ContainerHint{unlimited(pair[0]), pair[1]}},
		{"ratio of the pod without a limit", limitRange(t, "type: Pod, maxLimitRequestRatio: {cpu: '2'}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"no limit, but a ratio", limitRange(t, "type: Container, maxLimitRequestRatio: {cpu: '2'}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}},
		{"no limit, but a ratio, and it needs more", limitRange(t, "type: Container, maxLimitRequestRatio: {cpu: '2'}"), []exporter.ContainerHint{unlimited(needs("cpu", "need_cores", 0.89)[0])}},
		{"no limit, but a default, which a quota would demand", both("type: Container, default: {cpu: 500m}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", [4]float64{0.25, -1, 256, 512}, small))}},
		{"no limit, but one that a quota demands beyond the max of the pod", both("type: Pod, max: {cpu: '1'}"), []exporter.ContainerHint{unlimited(hint("web-1", "app", [4]float64{0.25, 2, 256, 512}, small))}},
		{"min of the pod", limitRange(t, "type: Pod, min: {cpu: '1'}"), one()},
		{"ratio of the pod", limitRange(t, "type: Pod, maxLimitRequestRatio: {cpu: 1500m}"), one()},
		{"of storage", limitRange(t, "type: PersistentVolumeClaim, max: {storage: 1Gi}"), one()},
	}
}

func quotas(t *testing.T) []scenario {
	const app = "containers: [{name: app, resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {cpu: 500m, memory: 512Mi}}}]"
	one := func() []exporter.ContainerHint {
		return []exporter.ContainerHint{hint("web-1", "app", usual, [4]float64{0.4, 0.8, 320, 640})}
	}
	hard := "hard: {requests.cpu: '2', limits.cpu: '3', memory: 2Gi, limits.memory: 2Gi}"
	const used = "requests.cpu: 1500m, limits.cpu: 2500m, memory: 1Gi, limits.memory: 1900Mi"
	none := []exporter.ContainerHint{unlimited(hint("web-1", "app", usual, small))}
	other := of(hint("db-0", "db", usual, [4]float64{0.1, 0.2, 64, 128}), "StatefulSet", "db")
	return []scenario{
		{"three pods of which the agent shows one", pods(t, quota(t, hard, used), 3, app), one()},
		{"pods that cannot be read", quota(t, hard, used), one()},
		{"makes room as well", quota(t, "hard: {limits.cpu: '3'}", "limits.cpu: 2900m"), append(one(), other)},
		{"alone it would fit", quota(t, "hard: {limits.cpu: '3'}", "limits.cpu: 2600m"), append(one(), of(hint("db-0", "db", usual, [4]float64{0.4, 0.8, 64, 128}), "StatefulSet", "db"))},
		{"it fits", quota(t, "hard: {limits.cpu: '3'}", "limits.cpu: '2'"), one()},
		{"used over hard, and less with the hint", quota(t, "hard: {limits.cpu: '1'}", "limits.cpu: '2'"), []exporter.ContainerHint{hint("web-1", "app", usual, small)}},
		{"of other pods", pods(t, quota(t, "hard: {limits.cpu: '1'}, scopes: [Terminating]", "limits.cpu: '1'"), 1, app), one()},
		{"of best effort, which it is no more", pods(t, quota(t, "hard: {limits.cpu: '1'}, scopes: [BestEffort]", "limits.cpu: '1'"), 1, "containers: [{name: app}]"), one()},
		{"of its priority class", pods(t, quota(t, "hard: {limits.cpu: '1'}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}", "limits.cpu: '1'"), 2, "priorityClassName: high, "+app), one()},
		{"counts limits, and the hint has none", quota(t, "hard: {limits.cpu: '3'}", "limits.cpu: '1'"), none},
		{"counts limits of other pods, and the hint has none", pods(t, quota(t, "hard: {limits.cpu: '3'}, scopes: [Terminating]", "limits.cpu: '1'"), 1, app), none},
		{"counts limits of its pods, of which none runs now, and the hint has none", pods(t, quota(t, "hard: {limits.cpu: '3'}, scopes: [NotTerminating]", "limits.cpu: '1'"), 0, app), none},
		{"counts limits of some pods, of which it is not known, and the hint has none", quota(t, "hard: {limits.cpu: '3'}, scopes: [Terminating]", "limits.cpu: '1'"), none},
		{"just made", quota(t, "hard: {limits.cpu: '1'}", ""), one()},
	}
}

// TestJudge holds every sentence and every amount.
func TestJudge(t *testing.T) {
	for file, scenarios := range map[string][]scenario{"autoscalers": autoscalers(t), "limitranges": limitRanges(t), "quotas": quotas(t)} {
		var b strings.Builder
		for _, s := range scenarios {
			list := &exporter.HintList{Hints: append([]exporter.ContainerHint{}, s.hints...)}
			Judge(list, s.found)
			fmt.Fprintf(&b, "== %s\n", s.name)
			for i := range list.Hints {
				describe(&b, &list.Hints[i])
			}
		}
		path := filepath.Join("testdata", file+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-want +got), -update takes it over:\n%s", path, diff)
		}
	}
}

func describe(b *strings.Builder, h *exporter.ContainerHint) {
	fmt.Fprintf(b, "%s/%s:", h.Pod, h.Container)
	for _, r := range resources() {
		a := r.of(&h.Hint)
		if *a.request != nil {
			fmt.Fprintf(b, " %s request %s", r.name, r.spell(**a.request))
		}
		switch {
		case *a.limit != nil:
			fmt.Fprintf(b, " limit %s", r.spell(**a.limit))
		case r.removed(h):
			b.WriteString(" no limit")
		}
	}
	b.WriteString("\n")
	for i := range h.Reasons {
		if r := &h.Reasons[i]; Owns(r) {
			fmt.Fprintf(b, "  %s: %s\n", r.Code, r.Text)
		}
	}
}
