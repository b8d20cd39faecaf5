// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/agent/config"
)

// flag is an argument of the agent in a list of YAML or as a patch's value, and
// in the chart's templates, where its value may be an action.
var flag = regexp.MustCompile(`(?m)^\s*(?:- |value: )(?:\{\{ printf ")?--([a-z.-]+)(?:=(\S+))?`)

// TestManifestsUseFlagsThatExist holds the manifests to the agent's settings: an
// unknown flag or value would keep every agent from starting.
func TestManifestsUseFlagsThatExist(t *testing.T) {
	found := 0
	for _, root := range []string{".", filepath.Join("..", "helm", "slicewatch", "templates")} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range flag.FindAllStringSubmatch(string(content), -1) {
				found++
				checkFlag(t, path, match[1], match[2])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 20 {
		t.Errorf("only %d flags found: the test looks for the wrong thing", found)
	}
}

func checkFlag(t *testing.T, path, name, value string) {
	t.Helper()
	app := kingpin.New("agent", "")
	flags := config.Register(app)
	if app.GetFlag(name) == nil {
		t.Errorf("%s: the agent has no flag --%s", path, name)
		return
	}
	if value == "" || strings.ContainsAny(value, "{%") {
		return
	}
	if _, err := app.Parse([]string{"--" + name + "=" + value}); err != nil {
		t.Errorf("%s: --%s=%s: %v", path, name, value, err)
		return
	}
	_, _, err := config.Load(config.Sources{Flags: flags, Hostname: os.Hostname})
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
}
