// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// profiles are the ways to install that both have; "" is the plain one.
func profiles(t *testing.T) []string {
	t.Helper()
	overlays, err := filepath.Glob(filepath.Join(overlayDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := filepath.Glob(filepath.Join(valuesDir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	names := func(paths []string) []string {
		for i, path := range paths {
			paths[i] = strings.TrimSuffix(filepath.Base(path), ".yaml")
		}
		return paths
	}
	if diff := cmp.Diff(names(overlays), names(values)); diff != "" {
		t.Fatalf("overlays and values files (-overlays +values):\n%s", diff)
	}
	if len(overlays) < 5 {
		t.Fatalf("only %q found", overlays)
	}
	return overlays
}

// TestChartMakesWhatTheOverlaysMake holds the two ways to install to each
// other, object by object and field by field.
func TestChartMakesWhatTheOverlaysMake(t *testing.T) {
	compare := func(t *testing.T, path string, values object) {
		t.Helper()
		want, err := overlay(path)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := release(values, operators...)
		if err != nil {
			t.Fatal(err)
		}
		wantNamed, gotNamed := byName(want), byName(got)
		// Helm makes no namespace: --create-namespace does.
		delete(wantNamed, "Namespace slicewatch")
		if diff := cmp.Diff(wantNamed, gotNamed); diff != "" {
			t.Errorf("objects (-kustomize +helm):\n%s", diff)
		}
	}
	t.Run("base", func(t *testing.T) { compare(t, filepath.Join(overlayDir, "..", "base"), nil) })
	for _, name := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			values, err := valuesFile(name)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join(overlayDir, name), values)
		})
	}
}

// set returns values with one of them set, whose path has dots.
func set(path string, value any) object {
	parts := strings.Split(path, ".")
	for _, part := range slices.Backward(parts) {
		value = object{part: value}
	}
	return value.(object)
}

func TestWrongValuesAreRefused(t *testing.T) {
	for path, test := range map[string]struct {
		value any
		want  string
	}{
		"nosuch":                        {true, "nosuch"},
		"web.prot":                      {9779, "prot"},
		"web.port":                      {70000, "/web/port"},
		"web.auth":                      {"basic", "'none', 'kubernetes'"},
		"web.audiences":                 {"one", "/web/audiences"},
		"web.cacheTime":                 {"5 minutes", "/web/cacheTime"},
		"image.digest":                  {"sha256:abc", "/image/digest"},
		"image.tag":                     {"a tag", "/image/tag"},
		"image.pullPolicy":              {"always", "/image/pullPolicy"},
		"agent.retention":               {5, "/agent/retention"},
		"agent.sampleInterval":          {"1", "/agent/sampleInterval"},
		"agent.metrics.detail":          {"everything", "/agent/metrics/detail"},
		"agent.extraArgs":               {[]any{"web.pprof"}, "/agent/extraArgs"},
		"agent.log.level":               {"trace", "/agent/log/level"},
		"bpf":                           {false, "/bpf"},
		"bpf.enabled":                   {"off", "/bpf/enabled"},
		"containerd.directory":          {"run/containerd", "/containerd/directory"},
		"architectures":                 {[]any{"x86_64"}, "'amd64', 'arm64'"},
		"rbac.readers":                  {[]any{object{"name": "prometheus"}}, "namespace"},
		"networkPolicy.apiServerPorts":  {[]any{}, "/networkPolicy/apiServerPorts"},
		"resources.limit":               {object{}, "limit"},
		"updateStrategy.type":           {"Recreate", "/updateStrategy/type"},
		"podMonitor.interval":           {15, "/podMonitor/interval"},
		"terminationGracePeriodSeconds": {-1, "/terminationGracePeriodSeconds"},
	} {
		_, _, err := release(set(path, test.value), operators...)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%v: error %v, want one that names %s", path, test.value, err, test.want)
		}
	}
}

func TestWhatDoesNotGoTogetherIsRefused(t *testing.T) {
	merge := func(all ...object) object {
		merged := object{}
		for _, values := range all {
			maps.Copy(merged, values)
		}
		return merged
	}
	for name, test := range map[string]struct {
		values object
		want   string
	}{
		"both monitors": {
			merge(set("podMonitor.enabled", true), set("serviceMonitor.enabled", true)), "exclude each other",
		},
		"a ServiceMonitor without a Service": {
			merge(set("serviceMonitor.enabled", true), set("service.enabled", false)), "service.enabled",
		},
		"a PodMonitor without a token": {
			merge(set("podMonitor.enabled", true), set("web.auth", "kubernetes")), "podMonitor.tokenSecret.name",
		},
		"architectures and affinity": {
			merge(set("architectures", []any{"arm64"}), set("affinity.podAffinity", object{})), "affinity.nodeAffinity",
		},
		"no service account": {set("serviceAccount.create", false), "serviceAccount.name"},
	} {
		if _, _, err := release(test.values, operators...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one that names %s", name, err, test.want)
		}
	}
}

// Without an operator nothing fails by default, and what is asked for in vain
// is named, with the mend.
func TestMissingCRDs(t *testing.T) {
	if _, _, err := release(nil); err != nil {
		t.Errorf("the default values need CRDs: %v", err)
	}
	for _, api := range operators {
		kind := api[strings.LastIndex(api, "/")+1:]
		value := strings.ToLower(kind[:1]) + kind[1:]
		if strings.HasPrefix(kind, "VM") {
			value = "vm" + kind[2:]
		}
		_, _, err := release(set(value+".enabled", true))
		if err == nil {
			t.Errorf("%s: no error", kind)
			continue
		}
		for _, part := range []string{api, value + ".enabled=false", "CRDs", "--api-versions"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error does not name %q: %v", kind, part, err)
			}
		}
		if _, _, err := release(set(value+".enabled", true), operators...); err != nil {
			t.Errorf("%s with the CRD: %v", kind, err)
		}
	}
}

func TestNotes(t *testing.T) {
	for name, test := range map[string]struct {
		values object
		want   []string
	}{
		"plain": {nil, []string{
			"kubectl label --overwrite namespace slicewatch pod-security.kubernetes.io/enforce=privileged", "helm -n slicewatch test slicewatch",
			"honor_labels",
		}},
		"token authentication": {set("web.auth", "kubernetes"), []string{"Nobody may read the metrics yet", "slicewatch-metrics-reader"}},
		"no names":             {object{"kubernetes": object{"enabled": false}, "containerd": object{"enabled": false}}, []string{"UIDs for names"}},
	} {
		_, notes, err := release(test.values)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range test.want {
			if !strings.Contains(notes, part) {
				t.Errorf("%s: the notes lack %q:\n%s", name, part, notes)
			}
		}
	}
}
