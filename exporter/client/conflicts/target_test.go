// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"testing"

	"github.com/slicewatch/slicewatch/exporter"
)

// An autoscaler of another group's Deployment of the same name is none of ours.
func TestTargetsHaveAGroup(t *testing.T) {
	for _, test := range []struct {
		apiVersion, kind string
		want             bool
	}{
		{"apps/v1", "Deployment", true},
		{"apps/v1beta2", "Deployment", true},
		{"extensions/v1beta1", "Deployment", true},
		{"", "Deployment", true},
		{"example.com/v1", "Deployment", false},
		{"v1", "Deployment", false},
		{"a/b/c", "Deployment", false},
		{"apps/v1", "StatefulSet", true},
		{"apps.example.com/v1", "StatefulSet", false},
		{"v1", "ReplicationController", true},
		{"apps/v1", "ReplicationController", false},
		{"argoproj.io/v1alpha1", "Rollout", true},
	} {
		one := of(hint("web-1", "app", usual, small), test.kind, "web")
		list := &exporter.HintList{Hints: []exporter.ContainerHint{one}}
		found := hpa(t, "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}", "")
		ref := &found.HPAs[0].Spec.ScaleTargetRef
		ref.APIVersion, ref.Kind = test.apiVersion, test.kind
		found.VPAs = vpa(t, "", "").VPAs
		found.VPAs[0].Spec.TargetRef.APIVersion, found.VPAs[0].Spec.TargetRef.Kind = test.apiVersion, test.kind
		f := Judge(list, found)
		if _, ok := f.Vertical(WorkloadOf(&one)); ok != test.want || f.Scaled(WorkloadOf(&one), "cpu") != test.want {
			t.Errorf("%s of %q: VPA %t, HPA %t, want %t", test.kind, test.apiVersion, ok, f.Scaled(WorkloadOf(&one), "cpu"), test.want)
		}
	}
}
