// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// oneCgroup is a container with a CPU quota and recorded texts in all files that
// are read, alone in its tree: whole recordings take long to write.
func oneCgroup(t testing.TB, cfg FileReaderConfig) (r *FileReader, c *Cgroup, dir string) {
	t.Helper()
	rootDir := t.TempDir()
	const path = "/kubepods/pod1/container1"
	dir = filepath.Join(rootDir, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range controlFiles() {
		writeInPlace(t, filepath.Join(dir, file.name), string(fixturetree.Texts(t, file.name)[0]))
	}
	writeInPlace(t, filepath.Join(dir, "cpu.max"), "20000 100000\n")
	return newTestReader(t, rootDir, cfg), cgroupAt(t, rootDir, path), dir
}

// failReading makes every read of the named file give the errno: what an
// ordinary file system never does.
func failReading(r *FileReader, name string, errno unix.Errno) {
	before := r.pread
	r.pread = func(fd int, p []byte, offset int64) (int, error) {
		if target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil &&
			filepath.Base(strings.TrimSuffix(target, " (deleted)")) == name {
			return -1, errno
		}
		return before(fd, p, offset)
	}
}

func mustRead(t testing.TB, r *FileReader, c *Cgroup, into *Reading) {
	t.Helper()
	if err := r.Read(c, into); err != nil {
		t.Fatal(err)
	}
}

func wantField(t *testing.T, reading *Reading, f Field, want uint64) {
	t.Helper()
	if got, ok := reading.Get(f); !ok || got != want {
		t.Errorf("%v is %d (present: %v), want %d", f, got, ok, want)
	}
}

func wantAbsent(t *testing.T, reading *Reading, fields ...Field) {
	t.Helper()
	for _, f := range fields {
		if got, ok := reading.Get(f); ok {
			t.Errorf("%v is %d, want it absent", f, got)
		}
	}
}

func TestFileThatDoesNotExist(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	for _, name := range []string{"memory.peak", "cpu.pressure", "memory.high"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var reading Reading
	reading.Set(MemoryPeak, 1) // what was there before must not stay
	mustRead(t, r, c, &reading)
	wantAbsent(t, &reading, MemoryPeak, CPUPressureSome, CPUPressureFull, MemoryHigh)
	if diff := cmp.Diff(naiveValues(dir), values(&reading)); diff != "" {
		t.Errorf("other fields (-naive +got):\n%s", diff)
	}

	// It is not looked for every time, but when the settings are due.
	writeInPlace(t, filepath.Join(dir, "memory.peak"), "99\n")
	r.cgroups[c.ID].untilSettings = 1
	mustRead(t, r, c, &reading)
	wantAbsent(t, &reading, MemoryPeak)
	mustRead(t, r, c, &reading)
	wantField(t, &reading, MemoryPeak, 99)
	writeInPlace(t, filepath.Join(dir, "memory.peak"), "100\n")
	mustRead(t, r, c, &reading)
	wantField(t, &reading, MemoryPeak, 100)
}

func TestReadFails(t *testing.T) {
	tests := []struct {
		errno   unix.Errno
		wantErr error
		again   bool // the error comes at every read
	}{
		{errno: unix.EOPNOTSUPP},
		{errno: unix.EACCES, wantErr: fs.ErrPermission},
		{errno: unix.EIO, wantErr: unix.EIO, again: true},
	}
	for _, tt := range tests {
		t.Run(tt.errno.Error(), func(t *testing.T) {
			r, c, dir := oneCgroup(t, FileReaderConfig{})
			failReading(r, "memory.pressure", tt.errno)
			var reading Reading
			reading.Set(MemoryPressureSome, 1)
			err := r.Read(c, &reading)
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("error %v, want %v", err, tt.wantErr)
			}
			if err != nil && (!strings.Contains(err.Error(), "memory.pressure") || !strings.Contains(err.Error(), c.Path)) {
				t.Errorf("error %q does not name file and cgroup", err)
			}
			wantAbsent(t, &reading, MemoryPressureSome, MemoryPressureFull)
			if want := len(naiveValues(dir)) - 2; reading.Len() != want {
				t.Errorf("%d fields, want all the other %d", reading.Len(), want)
			}
			r.cgroups[c.ID].untilSettings = 1
			if err := r.Read(c, &reading); (err != nil) != tt.again {
				t.Errorf("second read: error %v, want one: %v", err, tt.again)
			}
			if err := r.Read(c, &reading); !errors.Is(err, tt.wantErr) {
				t.Errorf("settings due: error %v, want %v", err, tt.wantErr)
			}
		})
	}
}

func TestGarbage(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	want := naiveValues(dir)
	writeInPlace(t, filepath.Join(dir, "cpu.stat"), "usage_usec 1\nuser_usec -1\n")
	writeInPlace(t, filepath.Join(dir, "memory.max"), "lots\n")
	for f := range NumFields {
		if file := f.Info().File; file == "cpu.stat" || file == "memory.max" {
			delete(want, f.String())
		}
	}
	var reading Reading
	err := r.Read(c, &reading)
	var parseErr *ParseError
	if !errors.As(err, &parseErr) {
		t.Fatalf("error %v, want a ParseError", err)
	}
	wantErr := &ParseError{Cgroup: c.Path, File: "cpu.stat", Line: "user_usec -1", Problem: notANumber}
	if diff := cmp.Diff(wantErr, parseErr); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(err.Error(), "memory.max") {
		t.Errorf("error %q does not name the second file", err)
	}
	if diff := cmp.Diff(want, values(&reading)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	writeInPlace(t, filepath.Join(dir, "cpu.stat"), "usage_usec 1\n")
	mustRead(t, r, c, &reading)
	wantField(t, &reading, CPUUsage, 1)
}

func TestManyErrorsAreCut(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	for _, file := range r.files {
		writeInPlace(t, filepath.Join(dir, file.name), strings.Repeat("\xff", 5000))
	}
	var reading Reading
	for range 2 {
		r.SettingsChanged(c)
		err := r.Read(c, &reading)
		if err == nil {
			t.Fatal("no error")
		}
		if lines := strings.Count(err.Error(), "\n") + 1; lines != maxProblems+1 || len(err.Error()) > 4000 {
			t.Errorf("%d lines, %d bytes of errors:\n%v", lines, len(err.Error()), err)
		}
		if !strings.Contains(err.Error(), "and 19 more files") {
			t.Errorf("error %q does not say how many more", err)
		}
	}
	if reading != (Reading{}) {
		t.Errorf("fields present: %v", values(&reading))
	}
}

func TestLargeFiles(t *testing.T) {
	tests := []struct {
		name    string
		devices int
		wantErr bool
	}{
		{"larger than the buffer", 5000, false},
		{"larger than any buffer", 200_000, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, c, dir := oneCgroup(t, FileReaderConfig{})
			writeInPlace(t, filepath.Join(dir, "io.stat"), strings.Repeat("8:0 rbytes=1\n", tt.devices))
			var reading Reading
			err := r.Read(c, &reading)
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v, want one: %v", err, tt.wantErr)
			}
			if len(r.text) > maxTextBytes {
				t.Errorf("the buffer has %d bytes", len(r.text))
			}
			if tt.wantErr {
				wantAbsent(t, &reading, IOReadBytes, IOWriteBytes)
				return
			}
			wantField(t, &reading, IOReadBytes, uint64(tt.devices))
		})
	}
}

func TestGone(t *testing.T) {
	t.Run("before the first read", func(t *testing.T) {
		r, c, dir := oneCgroup(t, FileReaderConfig{})
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		wantGone(t, r, c)
	})
	t.Run("between two reads", func(t *testing.T) {
		r, c, dir := oneCgroup(t, FileReaderConfig{})
		var reading Reading
		mustRead(t, r, c, &reading)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for _, file := range r.files {
			failReading(r, file.name, unix.ENODEV)
		}
		wantGone(t, r, c)
	})
	t.Run("only its files so far", func(t *testing.T) {
		r, c, dir := oneCgroup(t, FileReaderConfig{})
		var reading Reading
		mustRead(t, r, c, &reading)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		before := reading
		failReading(r, "memory.stat", unix.ENODEV)
		if err := r.Read(c, &reading); !errors.Is(err, ErrGone) {
			t.Errorf("error %v, want ErrGone", err)
		}
		if reading != before {
			t.Errorf("a vanished cgroup lost its last values: %v", values(&reading))
		}
	})
	t.Run("another cgroup has the path", func(t *testing.T) {
		r, c, _ := oneCgroup(t, FileReaderConfig{})
		predecessor := *c
		predecessor.ID++
		wantGone(t, r, &predecessor)
		var reading Reading
		mustRead(t, r, c, &reading)
	})
}

func wantGone(t *testing.T, r *FileReader, c *Cgroup) {
	t.Helper()
	var reading Reading
	if err := r.Read(c, &reading); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), c.Path) {
		t.Errorf("error %v, want ErrGone with the path", err)
	}
	if reading != (Reading{}) {
		t.Errorf("fields present: %v", values(&reading))
	}
	if open := r.Stats().OpenFiles; open != 0 || len(r.cgroups) != 0 {
		t.Errorf("%d files open for %d cgroups, want none", open, len(r.cgroups))
	}
}

// The kernel removes the files of a controller that is disabled, and of PSI
// when 0 is written to cgroup.pressure.
func TestFileRemovedFromALivingCgroup(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	var reading Reading
	mustRead(t, r, c, &reading)
	before := reading
	working := r.pread
	failReading(r, "cpu.pressure", unix.ENODEV)
	mustRead(t, r, c, &reading)
	if reading != before {
		t.Errorf("the fields changed while nothing is known: %v", values(&reading))
	}
	r.pread = working
	if err := os.Remove(filepath.Join(dir, "cpu.pressure")); err != nil {
		t.Fatal(err)
	}
	mustRead(t, r, c, &reading)
	wantAbsent(t, &reading, CPUPressureSome, CPUPressureFull)
}

func TestNewFileReaderRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeInPlace(t, file, "")
	tests := []struct {
		name, rootDir string
		cfg           FileReaderConfig
		want          string
	}{
		{"no directory", file, FileReaderConfig{}, file},
		{"nothing there", file + "/x", FileReaderConfig{}, "cgroup2 mounted"},
		{"negative MaxOpen", t.TempDir(), FileReaderConfig{MaxOpen: -1}, "MaxOpen"},
		{"negative SettingsEvery", t.TempDir(), FileReaderConfig{SettingsEvery: -1}, "SettingsEvery"},
		{"unknown file to skip", t.TempDir(), FileReaderConfig{Skip: []string{"memory.stats"}}, `"memory.stats"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewFileReader(tt.rootDir, tt.cfg)
			if err == nil {
				t.Fatal(errors.Join(errors.New("no error"), r.Close()))
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

func TestSkippedFilesLeaveTheirFields(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{Skip: []string{"cpu.stat", "memory.max"}})
	want := naiveValues(dir)
	for f := range NumFields {
		if file := f.Info().File; file == "cpu.stat" || file == "memory.max" {
			delete(want, f.String())
		}
	}
	want["cpu.stat usage_usec"] = 42
	var reading Reading
	reading.Set(CPUUsage, 42)
	mustRead(t, r, c, &reading)
	if diff := cmp.Diff(want, values(&reading)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPathsThatLeadOut(t *testing.T) {
	r, _, _ := oneCgroup(t, FileReaderConfig{})
	for _, path := range []string{"", "kubepods", "/..", "/a/../../b", "//etc", "/a\x00b"} {
		var reading Reading
		if err := r.Read(&Cgroup{ID: 1, Path: path}, &reading); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("Read of %q: error %v, want one about the path", path, err)
		}
		if _, err := r.Procs(&Cgroup{ID: 1, Path: path}, nil); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("Procs of %q: error %v, want one about the path", path, err)
		}
	}
}

func TestDirectoryThatCannotBeOpened(t *testing.T) {
	r, _, _ := oneCgroup(t, FileReaderConfig{})
	c := &Cgroup{ID: 1, Path: "/" + strings.Repeat("x", 300)}
	var reading Reading
	if err := r.Read(c, &reading); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("Read: error %v, want %v", err, unix.ENAMETOOLONG)
	}
	if _, err := r.Procs(c, nil); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("Procs: error %v, want %v", err, unix.ENAMETOOLONG)
	}
	if reading != (Reading{}) {
		t.Errorf("fields present: %v", values(&reading))
	}
}

// The kernel cannot rename cgroups and uses no id twice, recorded trees may.
func TestOneIDWithTwoPaths(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	var reading, again Reading
	mustRead(t, r, c, &reading)
	open := r.Stats().OpenFiles
	if err := os.Rename(dir, dir+"x"); err != nil {
		t.Fatal(err)
	}
	mustRead(t, r, &Cgroup{ID: c.ID, Path: c.Path + "x"}, &again)
	if reading != again {
		t.Errorf("(-first path +second path):\n%s", cmp.Diff(values(&reading), values(&again)))
	}
	if got := r.Stats().OpenFiles; got != open {
		t.Errorf("%d files open, want %d", got, open)
	}
}
