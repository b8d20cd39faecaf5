// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/vm/gotest"
)

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no package":   {nil, "name the packages"},
		"no arch":      {[]string{"-arch", ",", "./x"}, "at least one value"},
		"unknown flag": {[]string{"-wat", "./x"}, "not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want one with %q", err, test.want)
			}
		})
	}
}

func TestListShowsTheMatrix(t *testing.T) {
	o, err := parse([]string{"-list", "-arch", "arm64,amd64", "-suite", "bookworm,trixie", "./a", "./b"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if ok, err := run(t.Context(), o, &out, io.Discard); !ok || err != nil {
		t.Fatalf("ok %v, error %v", ok, err)
	}
	want := "arm64 bookworm: ./a ./b\narm64 trixie: ./a ./b\namd64 bookworm: ./a ./b\namd64 trixie: ./a ./b\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("matrix (-want +got):\n%s", diff)
	}
}

func TestMachineHasBinariesAndRoomForThem(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(binary, make([]byte, 3<<20), 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-icount", "-swap", "64", "-append", "psi=1 slub_debug=-", "-memory", "500", "./a"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(o, "arm64", "bookworm", []gotest.Binary{
		{Package: "m/a", Path: binary, GuestDir: "/src/a", TestdataDir: "/host/a/testdata"},
		{Package: "m/b/a", Path: binary, GuestDir: "/src/b/a"},
	}, map[string]string{"/bin/agent": binary}, io.Discard)
	if diff := cmp.Diff(map[string]string{"/src/a/a.test": binary, "/src/b/a/a.test": binary, "/bin/agent": binary}, cfg.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"/src/a/testdata": "/host/a/testdata"}, cfg.Dirs); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	if cfg.MemoryMiB != 518 || cfg.SwapMiB != 64 || !cfg.InstructionClock || len(cfg.Append) != 2 {
		t.Errorf("machine %+v", cfg)
	}
}
