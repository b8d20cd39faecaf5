// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/slicewatch/slicewatch/test/families"
)

func TestFilesAreGenerated(t *testing.T) {
	want := map[string][]byte{}
	for _, d := range All() {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		want[d.File()] = text
	}
	maps, err := ConfigMaps(All())
	if err != nil {
		t.Fatal(err)
	}
	want["configmaps.yaml"] = maps
	var names []string
	for name, content := range want {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%s is not what the code says: make monitoring", name)
		}
		if strings.HasSuffix(name, ".json") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	have, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names, have); diff != "" {
		t.Errorf("JSON files (-want +got):\n%s", diff)
	}
}

// model is what Grafana reads, as far as it is looked at here.
type model struct {
	UID, Title    string
	SchemaVersion int
	Tags          []string
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Links  []struct{ Type string }
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Datasource               struct{ UID string }
		Targets                  []struct {
			RefID, Expr string
			Datasource  struct{ UID string }
		}
	}
}

func TestModels(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range All() {
		content, err := os.ReadFile(d.File())
		if err != nil {
			t.Fatal(err)
		}
		var m model
		if err := json.Unmarshal(content, &m); err != nil {
			t.Fatalf("%s: %v", d.File(), err)
		}
		if m.UID == "" || uids[m.UID] || len(m.UID) > 40 {
			t.Errorf("%s: uid %q is empty, too long or there twice", d.File(), m.UID)
		}
		uids[m.UID] = true
		if m.SchemaVersion == 0 || !slices.Contains(m.Tags, tag) || len(m.Links) == 0 {
			t.Errorf("%s: schema %d, tags %q, %d links", d.File(), m.SchemaVersion, m.Tags, len(m.Links))
		}
		m.checkPanels(t)
	}
}

func (m model) checkPanels(t *testing.T) {
	t.Helper()
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range m.Panels {
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%s: %s: id %d is 0 or there twice", m.UID, p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= columns {
					t.Fatalf("%s: %s at %+v lies on %q or off the page", m.UID, p.Title, p.GridPos, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s: panel %q wants a description, queries and the chosen data source", m.UID, p.Title)
		}
		for _, target := range p.Targets {
			if target.Expr == "" || target.RefID == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %s: query %+v", m.UID, p.Title, target)
			}
		}
	}
}

func TestVariables(t *testing.T) {
	used := regexp.MustCompile(`\$(\w+)`)
	for _, d := range All() {
		var names []string
		for _, v := range d.Variables {
			for _, m := range used.FindAllStringSubmatch(v.Query, -1) {
				if !slices.Contains(names, m[1]) {
					t.Errorf("%s: variable %s uses $%s, which is not before it", d.UID, v.Name, m[1])
				}
			}
			names = append(names, v.Name)
		}
		if !slices.Contains(names, "datasource") || !slices.Contains(names, "node") {
			t.Errorf("%s: variables are %q", d.UID, names)
		}
		for _, p := range d.Panels() {
			for _, q := range p.Queries {
				for _, m := range used.FindAllStringSubmatch(q.Expr, -1) {
					if !slices.Contains(names, m[1]) && !slices.Contains([]string{"__rate_interval", "__range"}, m[1]) {
						t.Errorf("%s: %s uses $%s, which is no variable", d.UID, p.Title, m[1])
					}
				}
			}
		}
	}
}

// TestMetricsExist holds besides that nothing but an agent is needed: no
// recording rules and no kube-state-metrics.
func TestMetricsExist(t *testing.T) {
	known, err := families.Built()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range All() {
		for _, p := range d.Panels() {
			for _, q := range p.Queries {
				for _, wrong := range families.Check(known, nil, q.Expr) {
					t.Errorf("%s: %s: %s", d.UID, p.Title, wrong)
				}
			}
		}
	}
}

// TestColumns holds that tables show labels and queries that there are.
func TestColumns(t *testing.T) {
	for _, d := range All() {
		for _, p := range d.Panels() {
			if p.Kind != Table {
				continue
			}
			var titles, sources []string
			for _, c := range p.Columns {
				titles, sources = append(titles, c.Title), append(sources, c.From)
			}
			for _, q := range p.Queries {
				if !slices.Contains(sources, q.Ref) {
					t.Errorf("%s: %s: query %q has no column", d.UID, p.Title, q.Ref)
				}
			}
			if !slices.Contains(titles, p.Order.Title) {
				t.Errorf("%s: %s is sorted by %q, which is no column", d.UID, p.Title, p.Order.Title)
			}
		}
	}
}

// TestLinks holds that links between dashboards name one that there is, and
// variables that it has.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`^/d/([a-z-]+)\?(.*)$`)
	found := 0
	for _, d := range All() {
		for _, p := range d.Panels() {
			for _, c := range p.Columns {
				if c.Link == "" {
					continue
				}
				found++
				m := link.FindStringSubmatch(c.Link)
				if m == nil {
					t.Fatalf("%s: %s: link %s", d.UID, p.Title, c.Link)
				}
				at := slices.IndexFunc(All(), func(o Dashboard) bool { return o.UID == m[1] })
				if at < 0 {
					t.Fatalf("%s: %s links to %s, which is not there", d.UID, p.Title, m[1])
				}
				for pair := range strings.SplitSeq(m[2], "&") {
					name, _, _ := strings.Cut(strings.TrimPrefix(pair, "var-"), "=")
					if !slices.ContainsFunc(All()[at].Variables, func(v Variable) bool { return v.Name == name }) {
						t.Errorf("%s: %s links with %s, which %s does not have", d.UID, p.Title, pair, m[1])
					}
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d links between dashboards", found)
	}
}

func TestConfigMaps(t *testing.T) {
	content, err := os.ReadFile("configmaps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	strict := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{Yaml: true, Strict: true})
	documents := strings.Split(string(content), "---\n")[1:]
	if len(documents) != len(All()) {
		t.Fatalf("%d ConfigMaps of %d dashboards", len(documents), len(All()))
	}
	for i, d := range All() {
		var m corev1.ConfigMap
		if _, _, err := strict.Decode([]byte(documents[i]), nil, &m); err != nil {
			t.Fatalf("ConfigMap of %s: %v", d.UID, err)
		}
		if m.Labels["grafana_dashboard"] != "1" {
			t.Errorf("%s: labels %v: the sidecar would not take it", m.Name, m.Labels)
		}
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := yaml.Unmarshal(want, &a); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(m.Data[d.File()]), &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s (-dashboard +ConfigMap):\n%s", m.Name, diff)
		}
	}
}
