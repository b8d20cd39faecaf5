// SPDX-License-Identifier: Apache-2.0

// Package examples has the tests of the manifests beside it: that the API and the
// metrics which they speak of exist. It must not know a cluster.
package examples

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/slicewatch/slicewatch/deploy/rules"
	"github.com/slicewatch/slicewatch/test/families"
)

// TestManifests reads what the API server knows by itself, strictly.
func TestManifests(t *testing.T) {
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		// Those are of others' kinds, or no objects at all.
		if slices.Contains([]string{"keda.yaml", "prometheus-adapter.yaml"}, file) {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			if _, _, err := strict.Decode([]byte(document), nil, nil); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestMetrics holds that autoscalers ask for series that the rules record.
func TestMetrics(t *testing.T) {
	var adapter struct {
		Rules struct {
			Custom []struct {
				SeriesQuery string `yaml:"seriesQuery"`
				Name        struct{ As string }
			}
		}
	}
	var keda struct {
		Spec struct {
			Triggers []struct{ Metadata struct{ Query string } }
		}
	}
	var hpa struct {
		Spec struct {
			Metrics []struct {
				Pods struct{ Metric struct{ Name string } }
			}
		}
	}
	read(t, "prometheus-adapter.yaml", &adapter)
	read(t, "keda.yaml", &keda)
	read(t, "hpa-throttled-share.yaml", &hpa)
	file, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, r := range file.Records() {
		recorded = append(recorded, r.Record)
	}
	asked := 0
	for _, expr := range []string{adapter.Rules.Custom[0].SeriesQuery, keda.Spec.Triggers[0].Metadata.Query} {
		for _, s := range families.Selectors(expr) {
			asked++
			if !slices.Contains(recorded, s.Name) {
				t.Errorf("%s is not recorded", s.Name)
			}
		}
	}
	if asked < 3 {
		t.Errorf("only %d series found in the examples", asked)
	}
	if got, want := hpa.Spec.Metrics[0].Pods.Metric.Name, adapter.Rules.Custom[0].Name.As; got != want {
		t.Errorf("the HPA asks for %q, the adapter gives %q", got, want)
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
