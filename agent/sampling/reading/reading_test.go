// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// files notes which cgroups were read and with what left out.
type files struct {
	skip  []string
	reads []string // cgroup path, and "all" for ReadAll
}

func (f *files) Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	f.reads = append(f.reads, c.Path)
	into.Set(cgroupfs.IOReadBytes, 1)
	if !slices.Contains(f.skip, "cpu.stat") {
		into.Set(cgroupfs.CPUUsage, 1)
	}
	return nil
}

func (f *files) ReadAll(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	f.reads = append(f.reads, c.Path+" all")
	into.Set(cgroupfs.CPUUsage, 1)
	return nil
}

func (f *files) Skip(names []string) error { f.skip = names; return nil }

func (*files) SettingsChanged(*cgroupfs.Cgroup) {}
func (*files) Forget(*cgroupfs.Cgroup)          {}
func (*files) Procs(_ *cgroupfs.Cgroup, into []int) ([]int, error) {
	return into, nil
}
func (*files) Stats() cgroupfs.FileReaderStats { return cgroupfs.FileReaderStats{} }

// took returns what was read since the last call.
func (f *files) took() []string {
	reads := f.reads
	f.reads = nil
	return reads
}

// walker is an iterator that gives one CPU usage for every cgroup.
type walker struct {
	err        error // of Sweep and ReadNow
	usage      uint64
	lacks      string // the path of a cgroup that it does not come by
	missed     int
	files      []string
	generation int
	grown      int
	closed     bool
}

func (w *walker) Sweep(*cgroupfs.Cgroup) error { return w.err }
func (w *walker) Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) bool {
	if c.Path == w.lacks {
		return false
	}
	into.Set(cgroupfs.CPUUsage, w.usage)
	return true
}
func (w *walker) ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	if w.err == nil {
		w.Read(c, into)
	}
	return w.err
}
func (w *walker) Missed() int             { return w.missed }
func (w *walker) Grow() error             { w.grown++; return nil }
func (w *walker) Forget(*cgroupfs.Cgroup) {}
func (w *walker) Files() []string         { return w.files }
func (w *walker) Generation() int         { return w.generation }
func (w *walker) Close() error            { w.closed = true; return nil }

func allButIO() []string {
	var names []string
	for f := range cgroupfs.NumFields {
		if file := f.Info().File; file != "io.stat" && !slices.Contains(names, file) {
			names = append(names, file)
		}
	}
	return names
}

var (
	top  = &cgroupfs.Cgroup{ID: 1, Path: "/kubepods", Level: cgroupfs.LevelKubepods}
	leaf = &cgroupfs.Cgroup{ID: 2, Path: "/kubepods/a", Level: cgroupfs.LevelContainer}
)

func newReader(f *files, open func() (Iterator, error)) *Reader {
	return New(Config{Files: f, Open: open, Log: slog.New(slog.DiscardHandler)})
}

func isUp(r *Reader) (up bool, reason string) {
	sources := r.AppendSource(nil)
	if len(sources) != 1 {
		return false, fmt.Sprintf("%d sources", len(sources))
	}
	return sources[0].Up, sources[0].Reason
}

func TestIteratorFirstFilesForTheRest(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO(), usage: 7}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	if missed := r.Begin(top); missed != 0 || r.Method() != "bpf" {
		t.Fatalf("%d missed, read through %s", missed, r.Method())
	}
	var got cgroupfs.Reading
	if err := r.Read(leaf, &got); err != nil {
		t.Fatal(err)
	}
	var want cgroupfs.Reading
	want.Set(cgroupfs.CPUUsage, 7)
	want.Set(cgroupfs.IOReadBytes, 1)
	if got != want {
		t.Errorf("got %+v", got)
	}
	if up, reason := isUp(r); !up {
		t.Error(reason)
	}
}

func TestWithoutIterator(t *testing.T) {
	f := &files{}
	r := newReader(f, nil)
	r.Begin(top)
	var got cgroupfs.Reading
	if err := r.Read(leaf, &got); err != nil || r.Method() != "files" {
		t.Errorf("read through %s: %v", r.Method(), err)
	}
	if sources := r.AppendSource([]snapshot.Source{}); len(sources) != 0 {
		t.Errorf("sources of what nobody wants: %v", sources)
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

// What the walk did not come by is read through its files, all of them.
func TestCgroupThatTheWalkLacks(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO(), lacks: leaf.Path, missed: 1}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	if missed := r.Begin(top); missed != 1 {
		t.Errorf("%d missed, want 1", missed)
	}
	var got cgroupfs.Reading
	for _, c := range []*cgroupfs.Cgroup{top, leaf} {
		if err := r.Read(c, &got); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{top.Path, leaf.Path + " all"}, f.took()); diff != "" {
		t.Error(diff)
	}
	if r.Begin(top); w.grown != 2 {
		t.Errorf("it was asked %d times to grow, want at each sweep", w.grown)
	}
}

// kubepods that goes is no failure of the iterator.
func TestKubepodsGoes(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO(), err: fmt.Errorf("sweep: %w", cgroupfs.ErrGone)}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	r.Begin(top)
	var got cgroupfs.Reading
	if err := r.Read(leaf, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{leaf.Path + " all"}, f.took()); diff != "" {
		t.Error(diff)
	}
	if up, reason := isUp(r); !up || w.closed {
		t.Errorf("the iterator is down: %s", reason)
	}
}

// A field that turns out wrong goes back to its file.
func TestFieldGoesToItsFile(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO()}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	r.Begin(top)
	w.files, w.generation = slices.DeleteFunc(allButIO(), func(name string) bool { return name == "memory.stat" }), 1
	r.Begin(top)
	if slices.Contains(f.skip, "memory.stat") || !slices.Contains(f.skip, "cpu.stat") {
		t.Errorf("left out: %v", f.skip)
	}
	var got cgroupfs.Reading
	for range 5 { // although nothing changes
		if err := r.Read(leaf, &got); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.took()); n != 5 {
		t.Errorf("memory.stat was read %d of 5 times", n)
	}
}

func TestCalmCgroups(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO(), usage: 1}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	var got cgroupfs.Reading
	sweep := func() int {
		r.Begin(top)
		if err := r.Read(leaf, &got); err != nil {
			t.Fatal(err)
		}
		return len(f.took())
	}
	var reads []int
	for range 3 + 2*calmEvery {
		reads = append(reads, sweep())
	}
	want := make([]int, len(reads))
	for i := range want {
		if i <= calmAfter || i%calmEvery == 0 {
			want[i] = 1
		}
	}
	if diff := cmp.Diff(want, reads); diff != "" {
		t.Errorf("reads of a cgroup that does nothing (-want +got):\n%s", diff)
	}
	w.usage++
	if sweep() != 1 {
		t.Error("not read although it ran")
	}
}

func TestIteratorFailsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := &files{}, &walker{files: allButIO()}
		opened := 0
		r := newReader(f, func() (Iterator, error) { opened++; return w, nil })
		r.Begin(top)
		w.err = bpf.Explain("cgroup_iterator", errors.New("torn"))
		r.Begin(top)
		if up, reason := isUp(r); up || !strings.Contains(reason, "torn") || !w.closed || f.skip != nil || r.Method() != "files" {
			t.Errorf("up: %t, %q; closed: %t, left out: %v, read through %s", up, reason, w.closed, f.skip, r.Method())
		}
		var got cgroupfs.Reading
		if err := r.Read(leaf, &got); err != nil || !got.Has(cgroupfs.CPUUsage) {
			t.Errorf("not read through the files: %v", err)
		}
		if r.Begin(top); opened != 1 {
			t.Error("opened again at once")
		}
		w.err, w.closed = nil, false
		time.Sleep(firstPause)
		r.Begin(top)
		if up, reason := isUp(r); !up || opened != 2 || r.Method() != "bpf" {
			t.Errorf("did not come back: %s", reason)
		}
	})
}

// Rights that are missing stay so: trying again would only cost.
func TestNoSecondAttemptWithoutRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		r := newReader(&files{}, func() (Iterator, error) {
			opened++
			return nil, &bpf.Unavailable{Program: "cgroup_iterator", Reason: bpf.NoPermission}
		})
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), "PERFMON") {
			t.Errorf("the reason is %v", err)
		}
		time.Sleep(24 * time.Hour)
		if r.Begin(top); opened != 1 {
			t.Errorf("opened %d times", opened)
		}
	})
}

func TestReadNow(t *testing.T) {
	f, w := &files{}, &walker{files: allButIO(), usage: 5}
	r := newReader(f, func() (Iterator, error) { return w, nil })
	r.Begin(top)
	var got cgroupfs.Reading
	if err := r.ReadNow(leaf, &got); err != nil || !got.Has(cgroupfs.IOReadBytes) {
		t.Errorf("%v, %+v", err, got)
	}
	w.err = cgroupfs.ErrGone
	if err := r.ReadNow(leaf, &got); !errors.Is(err, cgroupfs.ErrGone) {
		t.Errorf("a cgroup that went gives %v", err)
	}
	w.err = errors.New("torn")
	got = cgroupfs.Reading{}
	if err := r.ReadNow(leaf, &got); err != nil || !got.Has(cgroupfs.CPUUsage) {
		t.Errorf("not read through the files: %v", err)
	}
	if up, _ := isUp(r); up {
		t.Error("the iterator is up although it failed")
	}
}
