// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// everyCgroup returns every directory below rootDir as a Cgroup, the root
// itself first.
func everyCgroup(t testing.TB, rootDir string) []*Cgroup {
	t.Helper()
	var cgroups []*Cgroup
	err := filepath.WalkDir(rootDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		cgroups = append(cgroups, cgroupAt(t, rootDir, strings.TrimPrefix(path, rootDir)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cgroups
}

// cgroupAt returns the cgroup with this path, "" and "/" are the root.
func cgroupAt(t testing.TB, rootDir, path string) *Cgroup {
	t.Helper()
	info, err := os.Stat(filepath.Join(rootDir, path))
	if err != nil {
		t.Fatal(err)
	}
	return &Cgroup{ID: info.Sys().(*syscall.Stat_t).Ino, Path: "/" + strings.TrimPrefix(path, "/")}
}

func newTestReader(t testing.TB, rootDir string, cfg FileReaderConfig) *FileReader {
	t.Helper()
	r, err := NewFileReader(rootDir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// values returns what a Reading has, for comparing and printing.
func values(reading *Reading) map[string]uint64 {
	m := make(map[string]uint64)
	for f := range NumFields {
		if v, ok := reading.Get(f); ok {
			m[f.String()] = v
		}
	}
	return m
}

// naiveValues reads all fields of a directory in the plainest way there is,
// which shares nothing with the parsers.
func naiveValues(dir string) map[string]uint64 {
	m := make(map[string]uint64)
	for f := range NumFields {
		text, err := os.ReadFile(filepath.Join(dir, f.Info().File))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if v, ok := naiveField(f.Info(), string(text)); ok {
			m[f.String()] = v
		}
	}
	return m
}

func naiveField(info FieldInfo, text string) (value uint64, ok bool) {
	number := func(s string) (uint64, bool) {
		if s == "max" {
			return Unlimited, true
		}
		v, err := strconv.ParseUint(s, 10, 64)
		return v, err == nil
	}
	words := strings.Fields(text)
	switch {
	case info.File == "cpu.max":
		return number(words[map[string]int{"quota": 0, "period": 1}[info.Key]])
	case info.File == "io.stat":
		for _, word := range words {
			if after, found := strings.CutPrefix(word, info.Key+"="); found {
				v, _ := number(after)
				value += v
			}
		}
		return value, true
	case strings.HasSuffix(info.File, ".pressure"):
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); words[0] == info.Key {
				return number(strings.TrimPrefix(words[len(words)-1], "total="))
			}
		}
		return 0, false
	case info.Key == "":
		return number(words[0])
	}
	for i := 0; i+1 < len(words); i += 2 {
		if words[i] == info.Key {
			return number(words[i+1])
		}
	}
	return 0, false
}

func TestReadEveryFieldOfRecordedTrees(t *testing.T) {
	for _, name := range fixturetree.Names() {
		t.Run(name, func(t *testing.T) {
			rootDir, _ := fixturetree.Write(t, name)
			r := newTestReader(t, rootDir, FileReaderConfig{})
			cgroups := everyCgroup(t, rootDir)
			if len(cgroups) != 31 {
				t.Errorf("the recording has %d cgroups, want 31", len(cgroups))
			}
			fieldsSeen := make(map[string]bool)
			for _, c := range cgroups {
				var reading Reading
				if err := r.Read(c, &reading); err != nil {
					t.Error(err)
				}
				got := values(&reading)
				if diff := cmp.Diff(naiveValues(filepath.Join(rootDir, c.Path)), got); diff != "" {
					t.Errorf("%s: (-naive +got):\n%s", c.Path, diff)
				}
				for field := range got {
					fieldsSeen[field] = true
				}
			}
			// The comparison proves nothing about a field that no cgroup has.
			for f := range NumFields {
				if !fieldsSeen[f.String()] {
					t.Errorf("no cgroup gave %v", f)
				}
			}
		})
	}
}

func TestReadSeesWhatChanged(t *testing.T) {
	rootDir, _ := fixturetree.Write(t, fixturetree.SystemdSteady)
	r := newTestReader(t, rootDir, FileReaderConfig{})
	for _, c := range everyCgroup(t, rootDir) {
		dir := filepath.Join(rootDir, c.Path)
		var reading Reading
		if err := r.Read(c, &reading); err != nil {
			t.Fatal(err)
		}
		// Each file gets other numbers of another length, in place: kept
		// descriptors have to see it.
		for i, file := range r.files {
			changeNumbers(t, filepath.Join(dir, file.name), i+1)
		}
		r.SettingsChanged(c)
		if err := r.Read(c, &reading); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(naiveValues(dir), values(&reading)); diff != "" {
			t.Errorf("%s: (-naive +got):\n%s", c.Path, diff)
		}
	}
}

// changeNumbers puts the digits of n before every number in the file that
// stands behind a blank or a =.
func changeNumbers(t *testing.T, path string, n int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var changed bytes.Buffer
	previous := byte(' ')
	for _, c := range text {
		if (previous == ' ' || previous == '=') && '0' <= c && c <= '9' {
			fmt.Fprint(&changed, n)
		}
		changed.WriteByte(c)
		previous = c
	}
	writeInPlace(t, path, changed.String())
}

// writeInPlace changes a file without making a new one.
func writeInPlace(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
