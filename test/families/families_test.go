// SPDX-License-Identifier: Apache-2.0

package families

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuilt(t *testing.T) {
	built, err := Built()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Family{
		"slicewatch_container_cpu_usage_seconds_total": {"counter", []string{"namespace", "pod", "container", "qos", "mode"}},
		"slicewatch_node_pressure_seconds_total":       {"counter", []string{"resource", "kind"}},
		"slicewatch_source_up":                         {"gauge", []string{"source"}},
	} {
		if diff := cmp.Diff(want, built[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok := built["container_cpu_usage_seconds_total"]; ok {
		t.Error("cAdvisor's names are among ours")
	}
}

func TestSelectors(t *testing.T) {
	for expr, want := range map[string][]Selector{
		`sum by (a, b) (rate(x_total{c="d{e}", f!~"g"}[5m])) > 0.5`: {{"x_total", []string{"c", "f"}}},
		`a:b:c * on (n) group_left (w) k unless last_over_time(y[1h] offset 10m)`: {
			{Name: "a:b:c"}, {Name: "k"}, {Name: "y"},
		},
		`label_replace(-x, "resource", "cpu", "", "") or vector(0)`: {{Name: "x"}},
	} {
		if diff := cmp.Diff(want, Selectors(expr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expr, diff)
		}
	}
}

// A check that finds nothing would hold nothing.
func TestCheckFindsFaults(t *testing.T) {
	known := map[string]Family{
		"x_total":   {"counter", []string{"pod"}},
		"y_seconds": {"histogram", []string{"pod"}},
	}
	for expr, want := range map[string][]string{
		`rate(x_total{pod="a", node="b"}[5m]) + y_seconds_bucket + z:x:y`: nil,
		`rate(z_total[5m])`:      {"there is no metric family z_total"},
		`x_total{namespace="a"}`: {"x_total has no label namespace"},
		`x_total_bucket`:         {"there is no metric family x_total_bucket"},
	} {
		if diff := cmp.Diff(want, Check(known, []string{"z:x:y"}, expr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expr, diff)
		}
	}
}
