// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMirror(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"paragraphs": {"Types: deb\n# URIs: http://old.invalid/debian\nURIs: http://archive.invalid/debian\nSuites: trixie\n", "http://archive.invalid/debian"},
		"lines":      {"# deb http://old.invalid/debian x main\ndeb [signed-by=/k.gpg] https://archive.invalid/debian trixie main\n", "https://archive.invalid/debian"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sources")
			if err := os.WriteFile(path, []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := mirror(filepath.Join(t.TempDir(), "absent"), path)
			if err != nil || got != test.want {
				t.Errorf("mirror = %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if got, err := mirror("/does/not/exist"); err == nil {
		t.Errorf("mirror without sources = %q, want an error", got)
	}
}
