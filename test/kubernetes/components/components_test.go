// SPDX-License-Identifier: Apache-2.0

package components

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinkerFlags(t *testing.T) {
	p := kubernetesProgram("kubelet", true)
	got, err := p.linkerFlags("v1.36.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36"} {
		if !strings.Contains(got, want) {
			t.Errorf("linkerFlags = %q, want %s in it", got, want)
		}
	}
	if _, err := p.linkerFlags("main"); err == nil {
		t.Error("linkerFlags accepts a version that is none")
	}
}

// A changed dependency must give another executable, an unchanged one the
// cached.
func TestBuildKeepsWhatIsUnchanged(t *testing.T) {
	source := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(source, "small", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.invalid/small\n\ngo 1.26.0\n")
	write("main.go", "package main\n\nfunc main() {}\n")
	b := Builder{Source: source, Cache: t.TempDir(), NodeArch: "arm64", Log: slog.New(slog.DiscardHandler)}
	program := Program{Name: "small", module: "small", pkg: "."}
	build := func() string {
		t.Helper()
		paths, err := b.Build(t.Context(), program)
		if err != nil {
			t.Fatal(err)
		}
		return paths["small"]
	}
	first := build()
	if again := build(); again != first {
		t.Errorf("an unchanged program is at %s and then at %s", first, again)
	}
	write("go.sum", "")
	second := build()
	if second == first {
		t.Errorf("a changed module gives the same path %s", first)
	}
	write("main.go", "package main\n\nfunc main() { undefined() }\n")
	if _, err := b.Build(t.Context(), program); err == nil || !strings.Contains(err.Error(), "undefined") {
		t.Errorf("Build of a wrong program = %v, want the compiler's complaint", err)
	}
	if _, err := os.Stat(second); err != nil {
		t.Errorf("a failed build took away another: %v", err)
	}
}
