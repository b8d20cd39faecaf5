// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/test/families"
)

const docs = "../../docs"

func load(t *testing.T) File {
	t.Helper()
	f, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Alerts()) < 15 || len(f.Records()) < 30 {
		t.Fatalf("%d alerts and %d recording rules: too few to be all", len(f.Alerts()), len(f.Records()))
	}
	return f
}

func TestManifestsAreGenerated(t *testing.T) {
	for _, o := range Objects() {
		want, err := Manifest(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(o.File)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the source says: make monitoring", o.File)
		}
	}
}

func TestManifestsHaveTheRules(t *testing.T) {
	for _, o := range Objects() {
		content, err := os.ReadFile(o.File)
		if err != nil {
			t.Fatal(err)
		}
		var object struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Metadata   struct{ Name string }
			Spec       File
		}
		if err := yaml.Unmarshal(content, &object); err != nil {
			t.Fatalf("%s: %v", o.File, err)
		}
		if object.APIVersion != o.APIVersion || object.Kind != o.Kind || object.Metadata.Name == "" {
			t.Errorf("%s is a %s %s named %q", o.File, object.APIVersion, object.Kind, object.Metadata.Name)
		}
		if diff := cmp.Diff(load(t), object.Spec); diff != "" {
			t.Errorf("%s (-source +object):\n%s", o.File, diff)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	f, seen := load(t), map[string]bool{}
	for _, g := range f.Groups {
		if seen[g.Name] {
			t.Errorf("group %s is there twice", g.Name)
		}
		seen[g.Name] = true
		for _, r := range g.Rules {
			name := r.Alert + r.Record
			if seen[name] || (r.Alert == "") == (r.Record == "") {
				t.Errorf("rule %q is there twice, or is both or neither of alert and recording rule", name)
			}
			seen[name] = true
		}
	}
}

func TestMetricsExist(t *testing.T) {
	f := load(t)
	known, err := families.Built()
	if err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, r := range f.Records() {
		recorded = append(recorded, r.Record)
	}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			for _, wrong := range families.Check(known, recorded, r.Expr) {
				t.Errorf("%s: %s", r.Alert+r.Record, wrong)
			}
		}
	}
	// Those that texts ask for.
	query := regexp.MustCompile(`printf "([^"\\]*(?:\\.[^"\\]*)*)"`)
	for _, r := range f.Alerts() {
		for _, m := range query.FindAllStringSubmatch(r.Annotations["description"], -1) {
			expr := strings.NewReplacer("%q", `""`, "%f", "0", `\"`, `"`, "%.0f", "").Replace(m[1])
			for _, wrong := range families.Check(known, recorded, expr) {
				t.Errorf("description of %s: %s", r.Alert, wrong)
			}
		}
	}
}

const runbooks = "https://github.com/slicewatch/slicewatch/blob/main/docs/runbooks/"

func TestAlertsAreComplete(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(docs, "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range load(t).Alerts() {
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		if got, want := r.Annotations["runbook_url"], runbooks+r.Alert+".md"; got != want {
			t.Errorf("%s: runbook_url is %s, want %s", r.Alert, got, want)
		}
		if r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "$value") && r.Alert != "SlicewatchAgentDown" && r.Alert != "SlicewatchAgentAbsent" {
			t.Errorf("%s: wants a summary and a description with the value", r.Alert)
		}
		duration := r.For
		if duration == "" {
			duration = "at once"
		}
		if line := "| [" + r.Alert + "](runbooks/" + r.Alert + ".md) | " + r.Labels["severity"] + " | " + duration + " |"; !strings.Contains(string(table), line) {
			t.Errorf("docs/alerts.md has no line %q", line)
		}
	}
}

// TestRunbooks holds that each alert has a page of some substance, and each
// page an alert.
func TestRunbooks(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(docs, "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var have, want []string
	for _, page := range pages {
		have = append(have, strings.TrimSuffix(filepath.Base(page), ".md"))
	}
	for _, r := range load(t).Alerts() {
		want = append(want, r.Alert)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("runbooks (-alerts +pages):\n%s", diff)
	}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		title := "# " + strings.TrimSuffix(filepath.Base(page), ".md") + "\n"
		for _, part := range []string{title, "\n## What it means\n", "\n## Look\n", "\n## Mend\n"} {
			if !strings.Contains(string(content), part) {
				t.Errorf("%s has no %q", page, strings.TrimSpace(part))
			}
		}
	}
}

// unitTests is what promtool reads, as far as it is looked at here.
type unitTests struct {
	Tests []struct {
		Alerts []struct {
			Name string `yaml:"alertname"`
			Want []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func TestEachAlertIsTestedBothWays(t *testing.T) {
	files, err := filepath.Glob("tests/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d test files, %v", len(files), err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var u unitTests
		if err := yaml.Unmarshal(content, &u); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, test := range u.Tests {
			for _, a := range test.Alerts {
				fires[a.Name] = fires[a.Name] || len(a.Want) > 0
				silent[a.Name] = silent[a.Name] || len(a.Want) == 0
			}
		}
	}
	for _, r := range load(t).Alerts() {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: a test in which it fires: %t, in which it does not: %t", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}

func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("needs promtool: apt-get install prometheus")
	}
	files, err := filepath.Glob("tests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "slicewatch.rules.yaml"},
		append([]string{"test", "rules"}, files...),
	} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args[:2], " "), err, out)
		}
	}
}
