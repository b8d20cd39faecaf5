// SPDX-License-Identifier: Apache-2.0

package fixturetree

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func TestWrite(t *testing.T) {
	tests := []struct{ name, kubepods string }{
		{SystemdSteady, "kubepods.slice"},
		{CgroupfsSteady, "kubepods"},
	}
	if len(tests) != len(Names()) {
		t.Errorf("%d recordings tested, there are %d", len(tests), len(Names()))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rootDir, procDir := Write(t, tt.name)
			for _, file := range []string{
				filepath.Join(rootDir, "cgroup.controllers"),
				filepath.Join(rootDir, tt.kubepods, "cpu.stat"),
				filepath.Join(procDir, "meminfo"),
			} {
				if info, err := os.Stat(file); err != nil {
					t.Error(err)
				} else if info.Size() == 0 {
					t.Errorf("%s is empty", file)
				}
			}
		})
	}
}

func TestTexts(t *testing.T) {
	texts := Texts(t, "memory.oom.group")
	got := make(map[string]bool)
	for _, text := range texts {
		got[string(text)] = true
	}
	if len(texts) != 2 || !got["0\n"] || !got["1\n"] {
		t.Errorf("memory.oom.group was recorded as %q, want 0 and 1", texts)
	}
}

func TestUnpackRefusesToLeaveItsDirectory(t *testing.T) {
	archive := &txtar.Archive{Files: []txtar.File{{Name: "../outside", Data: []byte("x")}}}
	if err := unpack(t.TempDir(), archive); err == nil {
		t.Error("unpack wrote outside of its directory")
	}
}
