// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	dryRunEnv = "SLICEWATCH_DRYRUN"
	// operatorModule has the Prometheus operator's CRDs beside its code.
	operatorModule = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// plane is a control plane without nodes.
type plane struct {
	t       *testing.T
	program string // test/kubernetes/cmd/cluster
	environ []string
}

// startPlane starts what test/kubernetes starts, in a directory of its own, so
// that it is in nobody's way.
func startPlane(t *testing.T) plane {
	t.Helper()
	if os.Getenv(dryRunEnv) == "" {
		t.Skipf("needs a kube-apiserver, which takes minutes to build at the first use: make charts-dryrun, or set %s=1", dryRunEnv)
	}
	p := plane{
		t: t, program: filepath.Join(t.TempDir(), "cluster"),
		environ: append(os.Environ(), "SLICEWATCH_CLUSTER="+t.TempDir()),
	}
	build := exec.Command("go", "build", "-o", p.program, "./test/kubernetes/cmd/cluster")
	build.Dir = filepath.Join("..", "..")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the cluster's program: %v\n%s", err, output)
	}
	t.Cleanup(func() {
		if _, err := p.run(nil, "down"); err != nil {
			t.Errorf("stop the control plane: %v", err)
		}
	})
	if _, err := p.run(nil, "up", "--without-node"); err != nil {
		t.Fatalf("start the control plane: %v", err)
	}
	return p
}

func (p plane) run(input []byte, arguments ...string) (string, error) {
	command := exec.Command(p.program, arguments...)
	command.Dir, command.Env, command.Stdin = filepath.Join("..", ".."), p.environ, bytes.NewReader(input)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(arguments, " "), err, complaints.String())
	}
	return string(output), nil
}

func (p plane) kubectl(input []byte, arguments ...string) {
	p.t.Helper()
	if output, err := p.run(input, append([]string{"kubectl"}, arguments...)...); err != nil {
		p.t.Fatalf("%v\n%s", err, output)
	}
}

// installCRDs installs what the monitors and rules are instances of. The
// VictoriaMetrics operator's CRDs are in no module: testdata has stand-ins with
// the fields that are used here, by its documentation.
func (p plane) installCRDs() {
	p.t.Helper()
	output, err := exec.Command("go", "mod", "download", "-json", operatorModule).Output()
	if err != nil {
		p.t.Fatalf("download %s: %v", operatorModule, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		p.t.Fatal(err)
	}
	paths := []string{filepath.Join("testdata", "victoria-metrics-crds.yaml")}
	for _, kind := range []string{"podmonitors", "servicemonitors", "prometheusrules"} {
		paths = append(paths, filepath.Join(module.Dir, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml"))
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		p.kubectl(content, "apply", "--server-side", "-f", "-")
	}
	p.kubectl(nil, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
}

// accepts asks the API server whether it would take the objects, each field of
// them known.
func (p plane) accepts(t *testing.T, objects []object) {
	t.Helper()
	var all bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s", text)
	}
	if _, err := p.run(all.Bytes(), "kubectl", "apply", "--dry-run=server", "--server-side", "--validate=strict", "-f", "-"); err != nil {
		t.Error(err)
	}
}

// samples are other values than the defaults, for all that are not switches.
var samples = map[string]any{
	"affinity":                         object{"nodeAffinity": object{}},
	"agent.extraArgs":                  []any{"--cgroup.root=/kubelet"},
	"agent.log.format":                 "json",
	"agent.log.level":                  "debug",
	"agent.metrics.detail":             "all",
	"agent.metrics.exclude":            `slicewatch_pod_.*"'\.`,
	"agent.metrics.include":            ".*refaults.*",
	"agent.metrics.namespacesExclude":  "kube-.*|x",
	"agent.retention":                  "10m",
	"agent.sampleInterval":             "500ms",
	"architectures":                    []any{"arm64"},
	"commonLabels":                     object{"team": "platform"},
	"containerd.directory":             "/run/k3s/containerd",
	"dashboards.annotations":           object{"a/b": "c: d"},
	"dashboards.labels":                object{"grafana": "yes"},
	"fullnameOverride":                 "sw",
	"image.digest":                     "sha256:" + strings.Repeat("0a", 32),
	"image.pullPolicy":                 "Always",
	"image.repository":                 "registry.example:5000/a/b",
	"image.tag":                        "1.0",
	"imagePullSecrets":                 []any{object{"name": "pull"}},
	"nameOverride":                     "watch",
	"networkPolicy.apiServerPorts":     []any{8443},
	"networkPolicy.from":               []any{object{"namespaceSelector": object{"matchLabels": object{"a": "b"}}}},
	"nodeSelector":                     object{"pool": "a"},
	"podAnnotations":                   object{"a": "true"},
	"podLabels":                        object{"a": "1"},
	"podMonitor.interval":              "15s",
	"podMonitor.labels":                object{"release": "p"},
	"podMonitor.metricRelabelings":     []any{object{"action": "drop", "sourceLabels": []any{"__name__"}, "regex": "go_.*"}},
	"podMonitor.relabelings":           []any{object{"action": "labeldrop", "regex": "x"}},
	"podMonitor.scrapeTimeout":         "10s",
	"podMonitor.tlsConfig":             object{"insecureSkipVerify": true},
	"podMonitor.tokenSecret.key":       "t",
	"podMonitor.tokenSecret.name":      "token",
	"priorityClassName":                "",
	"prometheusRule.labels":            object{"release": "p"},
	"rbac.readers":                     []any{object{"name": "prometheus", "namespace": "monitoring"}},
	"resources":                        object{"limits": object{"memory": "1Gi", "cpu": 1}},
	"service.annotations":              object{"a": "b"},
	"serviceAccount.annotations":       object{"a": "b"},
	"serviceAccount.name":              "someone",
	"serviceMonitor.bearerTokenFile":   "/token",
	"serviceMonitor.interval":          "1m",
	"serviceMonitor.labels":            object{"release": "p"},
	"serviceMonitor.metricRelabelings": []any{object{"action": "drop", "sourceLabels": []any{"__name__"}, "regex": "go_.*"}},
	"serviceMonitor.relabelings":       []any{object{"action": "labeldrop", "regex": "x"}},
	"serviceMonitor.scrapeTimeout":     "10s",
	"serviceMonitor.tlsConfig":         object{"insecureSkipVerify": true},
	"terminationGracePeriodSeconds":    30,
	"tolerations":                      []any{},
	"updateStrategy":                   object{"type": "OnDelete", "rollingUpdate": nil},
	"vmPodScrape.bearerTokenFile":      "/token",
	"vmPodScrape.interval":             "15s",
	"vmPodScrape.labels":               object{"a": "b"},
	"vmPodScrape.metricRelabelConfigs": []any{object{"action": "drop", "sourceLabels": []any{"__name__"}, "regex": "go_.*"}},
	"vmPodScrape.relabelConfigs":       []any{object{"action": "labeldrop", "regex": "x"}},
	"vmPodScrape.scrapeTimeout":        "10s",
	"vmPodScrape.tlsConfig":            object{"insecureSkipVerify": true},
	"vmRule.labels":                    object{"a": "b"},
	"web.audiences":                    []any{"slicewatch"},
	"web.auth":                         "kubernetes",
	"web.cacheTime":                    "10m",
	"web.configKey":                    "config.yml",
	"web.configSecret":                 "web",
	"web.healthPort":                   9781,
	"web.port":                         19779,
	"web.scheme":                       "https",
}

// together are values that a value needs beside it to have an effect.
func together(path string) object {
	values := object{}
	switch group, _, _ := strings.Cut(path, "."); {
	case path == "serviceAccount.create":
		return set("serviceAccount.name", "default")
	case strings.HasPrefix(path, "web.a"), path == "web.cacheTime", path == "rbac.readers", strings.HasPrefix(path, "podMonitor.tokenSecret"):
		values = set("web.auth", "kubernetes")
	case strings.HasPrefix(path, "web.config"):
		values = set("web.configSecret", "web")
	case strings.HasSuffix(group, "Monitor"), strings.HasPrefix(group, "vm"), group == "prometheusRule", group == "dashboards", group == "networkPolicy":
		values = set(group+".enabled", true)
	}
	switch {
	case strings.HasPrefix(path, "podMonitor.tokenSecret"):
		values["podMonitor"] = object{"enabled": true, "tokenSecret": object{"name": "token"}}
	case strings.HasSuffix(path, ".bearerTokenFile"):
		values["web"] = object{"auth": "kubernetes"}
	}
	return values
}

func overlayValues(below, above object) object {
	for name, value := range above {
		inner, isObject := value.(object)
		if was, ok := below[name].(object); ok && isObject {
			overlayValues(was, inner)
		} else {
			below[name] = value
		}
	}
	return below
}

// variants maps every value of the chart to values in which it is another than
// the default.
func variants(t *testing.T) map[string]object {
	t.Helper()
	var values, schema object
	readChart(t, "values.yaml", &values)
	readChart(t, "values.schema.json", &schema)
	defaults := map[string]any{}
	leaves("", values, schema, defaults)
	all := map[string]object{}
	for path, value := range defaults {
		other, ok := samples[path]
		if enabled, isSwitch := value.(bool); isSwitch {
			other, ok = !enabled, true
		}
		parent := path[:max(0, strings.LastIndex(path, "."))]
		if whole, has := samples[parent]; !ok && has {
			path, other, ok = parent, whole, true
		}
		if !ok {
			t.Errorf("samples has nothing for %s", path)
			continue
		}
		all[path] = overlayValues(together(path), set(path, other))
	}
	return all
}

// TestEveryValueHasAnEffect renders each value once, without an API server.
func TestEveryValueHasAnEffect(t *testing.T) {
	for path, values := range variants(t) {
		without := together(path)
		if fmt.Sprint(without) == fmt.Sprint(values) {
			without = nil // it stands for itself
		}
		before, beforeNotes, err := release(without, operators...)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		after, afterNotes, err := release(values, operators...)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if fmt.Sprint(before, beforeNotes) == fmt.Sprint(after, afterNotes) {
			t.Errorf("%s changes nothing: %v", path, values)
		}
	}
}

// TestAPIServerTakesAll puts every overlay and every value to a real API
// server, which knows fields that no schema here does.
func TestAPIServerTakesAll(t *testing.T) {
	p := startPlane(t)
	p.installCRDs()
	p.kubectl(nil, "create", "namespace", "slicewatch")
	for _, name := range append([]string{"../base"}, profiles(t)...) {
		t.Run("overlay "+filepath.Base(name), func(t *testing.T) {
			objects, err := overlay(filepath.Join(overlayDir, name))
			if err != nil {
				t.Fatal(err)
			}
			p.accepts(t, objects)
		})
	}
	all := variants(t)
	for _, path := range sortedKeys(all) {
		t.Run("value "+path, func(t *testing.T) {
			objects, _, err := release(all[path], operators...)
			if err != nil {
				t.Fatal(err)
			}
			p.accepts(t, objects)
		})
	}
	t.Run("a field that is not there is refused", func(t *testing.T) {
		objects, err := overlay(filepath.Join(overlayDir, "..", "base"))
		if err != nil {
			t.Fatal(err)
		}
		objects[len(objects)-1]["spec"].(object)["nosuch"] = true
		text, err := yaml.Marshal(objects[len(objects)-1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.run(text, "kubectl", "apply", "--dry-run=server", "--server-side", "--validate=strict", "-f", "-"); err == nil {
			t.Error("the API server took it: this test would find nothing")
		}
	})
}
