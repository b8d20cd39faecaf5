// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourceURIs(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"empty":      {},
		"paragraph":  {"Types: deb\nURIs: http://a.example/debian http://b.example/debian\nSuites: bookworm\n", []string{"http://a.example/debian", "http://b.example/debian"}},
		"comment":    {"# URIs: http://a.example/debian\n# deb http://b.example/debian x main\n", nil},
		"one line":   {"deb http://a.example/debian bookworm main contrib\n", []string{"http://a.example/debian"}},
		"options":    {"deb [arch=amd64 signed-by=/k.gpg]  http://a.example/debian bookworm main\n", []string{"http://a.example/debian"}},
		"sources":    {"deb-src http://a.example/debian bookworm main\n", nil},
		"incomplete": {"deb \ndeb [arch=amd64\ndeb http://a.example/debian\n", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sourceURIs(test.text)); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzSourceURIs(f *testing.F) {
	f.Add("deb [x] http://a.example/debian bookworm main\nURIs: http://b.example\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, uri := range sourceURIs(text) {
			if uri == "" || strings.ContainsAny(uri, " \t\n") {
				t.Errorf("address %q", uri)
			}
		}
	})
}

func TestMirrorOrder(t *testing.T) {
	got := orderMirrors([]string{
		"http://a.example/debian-security", "http://b.example/other", "http://c.example/debian/", "http://b.example/other",
	})
	want := []string{"http://c.example/debian/", "http://b.example/other", "http://a.example/debian-security"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestAptTouchesOnlyItsOwn: every place where apt keeps state is below the
// private folder.
func TestAptTouchesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := (apt{dir: dir, arch: "arm64", suite: "trixie"}).configure("http://a.example/debian"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "apt.conf"))
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "Dir::") {
			continue
		}
		places++
		if !strings.Contains(line, ` "`+dir) {
			t.Errorf("outside of %s: %s", dir, line)
		}
	}
	if places < 8 {
		t.Errorf("only %d places are set", places)
	}
	source, err := os.ReadFile(filepath.Join(dir, "sources.list"))
	want := "deb [arch=arm64 signed-by=" + debianKeyring + "] http://a.example/debian trixie main\n"
	if err != nil || string(source) != want {
		t.Errorf("source %q, error %v; want %q", source, err, want)
	}
}
