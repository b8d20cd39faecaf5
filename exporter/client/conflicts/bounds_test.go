// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/slicewatch/slicewatch/exporter"
)

// TestBounded holds that nothing but the bounds of hinted containers changes in
// an autoscaler that is there.
func TestBounded(t *testing.T) {
	const rest = ", updatePolicy: {updateMode: 'Off', minReplicas: 3}, recommenders: [{name: mine}]"
	cpuHPA := hpa(t, "{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 200m}}}", "")
	app := hint("web-1", "app", usual, small)
	for name, test := range map[string]struct {
		policies, want string // want empty: no bound is set
		hint           exporter.ContainerHint
		found          Objects
	}{
		"none":           {want: "{containerName: app, minAllowed: {cpu: 210m, memory: 144Mi}, maxAllowed: {cpu: 420m, memory: 288Mi}}", hint: app},
		"its own":        {policies: "{containerName: app, minAllowed: {cpu: 10m}, controlledValues: RequestsOnly}, {containerName: proxy, mode: 'Off'}", want: "{containerName: app, minAllowed: {cpu: 210m, memory: 144Mi}, maxAllowed: {cpu: 420m, memory: 288Mi}, controlledValues: RequestsOnly}, {containerName: proxy, mode: 'Off'}", hint: app},
		"that of all":    {policies: "{containerName: '*', controlledResources: [memory], oomBumpUpRatio: '2'}", want: "{containerName: '*', controlledResources: [memory], oomBumpUpRatio: '2'}, {containerName: app, minAllowed: {memory: 144Mi}, maxAllowed: {memory: 288Mi}, controlledResources: [memory], oomBumpUpRatio: '2'}", hint: app},
		"off":            {policies: "{containerName: app, mode: 'Off'}", hint: app},
		"off for all":    {policies: "{containerName: '*', mode: 'Off'}", hint: app},
		"no limit":       {policies: "{containerName: app, maxAllowed: {cpu: 100m}}", want: "{containerName: app, minAllowed: {cpu: 210m, memory: 144Mi}, maxAllowed: {cpu: 210m, memory: 288Mi}}", hint: unlimited(app)},
		"no request":     {policies: "{containerName: app, minAllowed: {cpu: 900m}}", want: "{containerName: app, minAllowed: {cpu: 500m}, maxAllowed: {cpu: 500m}}", hint: hint("web-1", "app", usual, [4]float64{-1, 0.5, -1, -1})},
		"no hint":        {hint: hint("web-1", "app", usual, [4]float64{-1, -1, -1, -1})},
		"scaled by CPU":  {want: "{containerName: app, minAllowed: {memory: 144Mi}, maxAllowed: {memory: 288Mi}}", hint: app, found: cpuHPA},
		"another's only": {policies: "{containerName: proxy, mode: 'Off'}", want: "{containerName: proxy, mode: 'Off'}, {containerName: app, minAllowed: {cpu: 210m, memory: 144Mi}, maxAllowed: {cpu: 420m, memory: 288Mi}}", hint: app},
	} {
		found := test.found
		found.VPAs = vpa(t, rest+", resourcePolicy: {containerPolicies: ["+test.policies+"]}", "").VPAs
		before := found.VPAs[0].DeepCopy()
		list := exporter.HintList{Hints: []exporter.ContainerHint{test.hint}}
		f := Judge(&list, found)
		v, ok := f.Vertical(WorkloadOf(&test.hint))
		if !ok || v.Name != "web-vpa" {
			t.Fatalf("%s: got %q, %v", name, v.Name, ok)
		}
		spec, ok := f.Bounded(v, list.Hints)
		if ok != (test.want != "") {
			t.Errorf("%s: got %v", name, ok)
		}
		if diff := cmp.Diff(before.Spec, found.VPAs[0].Spec); diff != "" {
			t.Errorf("%s: what was read changed (-was +is):\n%s", name, diff)
		}
		if !ok {
			continue
		}
		want := vpa(t, rest+", resourcePolicy: {containerPolicies: ["+test.want+"]}", "").VPAs[0].Spec
		if diff := cmp.Diff(&want, spec.(*vpav1.VerticalPodAutoscalerSpec)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
