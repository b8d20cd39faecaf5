// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// leaves maps the paths of all values to their defaults. What the schema has
// no properties of, such as resources, is a leaf.
func leaves(prefix string, value any, schema object, into map[string]any) {
	properties, _ := schema["properties"].(object)
	values, ok := value.(object)
	if !ok || len(properties) == 0 {
		into[prefix] = value
		return
	}
	for name, v := range values {
		path := strings.TrimPrefix(prefix+"."+name, ".")
		child, _ := properties[name].(object)
		leaves(path, v, child, into)
	}
}

func readChart(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestEveryValueIsDocumented holds the schema to the values, and the table in
// the chart's README to both.
func TestEveryValueIsDocumented(t *testing.T) {
	var values, schema object
	readChart(t, "values.yaml", &values)
	readChart(t, "values.schema.json", &schema)
	defaults := map[string]any{}
	leaves("", values, schema, defaults)
	var table strings.Builder
	table.WriteString("| Value | Default | |\n| --- | --- | --- |\n")
	for _, path := range sortedKeys(defaults) {
		description := describe(schema, path)
		if description == "" {
			t.Errorf("values.schema.json does not describe %s", path)
		}
		shown, err := json.Marshal(defaults[path])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", path, shown, strings.ReplaceAll(description, "|", "\\|"))
	}
	readme := filepath.Join(chartDir, "README.md")
	content, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values -->\n", "<!-- end of values -->"
	before, rest, _ := strings.Cut(string(content), begin)
	was, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has no place for the values: %q and %q", readme, begin, end)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(readme, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), was); diff != "" {
		t.Errorf("the table of values (-wanted +there), write it anew with UPDATE=1:\n%s", diff)
	}
}

// describe returns what the schema says of the value at a path.
func describe(schema object, path string) string {
	for part := range strings.SplitSeq(path, ".") {
		properties, _ := schema["properties"].(object)
		schema, _ = properties[part].(object)
	}
	description, _ := schema["description"].(string)
	return description
}

// What the schema knows must be a value, or it would be a switch without
// effect.
func TestSchemaHasNoOtherValues(t *testing.T) {
	var values, schema object
	readChart(t, "values.yaml", &values)
	readChart(t, "values.schema.json", &schema)
	var check func(path string, schema object, value any)
	check = func(path string, schema object, value any) {
		properties, _ := schema["properties"].(object)
		for name, child := range properties {
			known, ok := value.(object)[name]
			// Helm's own, and those that Kubernetes has a default for.
			if full := path + name; !ok && full != "global" && full != "resources.claims" && full != "updateStrategy.type" {
				t.Errorf("values.yaml has no %s", full)
				continue
			}
			if _, isObject := known.(object); isObject {
				check(path+name+".", child.(object), known)
			}
		}
	}
	check("", schema, values)
}
