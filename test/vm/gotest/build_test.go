// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"debug/elf"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	const wirePackage = "github.com/slicewatch/slicewatch/test/vm/wire"
	got, untested, err := Build(t.Context(), "arm64", dir, []string{wirePackage, wirePackage + "/../testdata/helper"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Binary{{Package: wirePackage, Path: filepath.Join(dir, "arm64-0.test"), GuestDir: "/src/test/vm/wire"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("binaries (-want +got):\n%s", diff)
	}
	if len(untested) != 1 {
		t.Errorf("packages without tests: %v, want one", untested)
	}
	file, err := elf.Open(got[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if file.Machine != elf.EM_AARCH64 {
		t.Errorf("built for %v", file.Machine)
	}
	if libraries, err := file.ImportedLibraries(); len(libraries) != 0 {
		t.Errorf("needs %v (error %v): a guest has no libraries", libraries, err)
	}
}

func TestBuildFails(t *testing.T) {
	if _, _, err := Build(t.Context(), "arm64", t.TempDir(), []string{"./does/not/exist"}); err == nil {
		t.Error("a package that does not exist gave no error")
	}
}
