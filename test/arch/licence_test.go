// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// eBPF programs call kernel functions that are for GPL programs alone.
const licenceOfC = "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n"

func TestLicenceHeaderOfC(t *testing.T) {
	found := 0
	err := filepath.WalkDir(filepath.Join(repository, "bpf"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext != ".c" && ext != ".h" {
			return nil
		}
		found++
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// What keeps Go's build from taking the file has to come first.
		text := strings.TrimPrefix(string(content), "//go:build ignore\n\n")
		if !strings.HasPrefix(text, licenceOfC) {
			t.Errorf("%s: the first line must be %q", path, strings.TrimSpace(licenceOfC))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("no C file found below bpf: the test looks in the wrong place")
	}
}
