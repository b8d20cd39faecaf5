// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requirement is a line of go.mod's require blocks.
var requirement = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+) v\S+`)

// documented is a line of the tables in docs/dependencies.md.
var documented = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// TestDependenciesAreExplained holds that docs/dependencies.md has one line for
// each module that our code imports, and no line too many.
func TestDependenciesAreExplained(t *testing.T) {
	var explained []string
	for _, match := range documented.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		explained = append(explained, match[1])
	}
	slices.Sort(explained)
	if diff := cmp.Diff(directModules(t), explained); diff != "" {
		t.Errorf("modules in docs/dependencies.md (-imported +explained):\n%s", diff)
	}
}

// directModules returns the modules of go.mod that some file imports. It does
// not trust the "// indirect" marks.
func directModules(t *testing.T) []string {
	var modules []string
	for _, match := range requirement.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		modules = append(modules, match[1])
	}
	direct := make(map[string]bool)
	for _, file := range sources(t) {
		if file.nested {
			continue
		}
		for _, path := range file.imports() {
			owner := ""
			for _, candidate := range modules {
				if within(path, candidate) && len(candidate) > len(owner) {
					owner = candidate
				}
			}
			switch first, _, _ := strings.Cut(path, "/"); {
			case owner != "":
				direct[owner] = true
			case strings.Contains(first, ".") && !within(path, module):
				t.Errorf("%s: no module in go.mod has %s", file.path, path)
			}
		}
	}
	return slices.Sorted(maps.Keys(direct))
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
