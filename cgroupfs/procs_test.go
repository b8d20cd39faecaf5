// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// procsTree makes a tree of directories with these texts as cgroup.procs.
func procsTree(t *testing.T, procs map[string]string) (rootDir string) {
	t.Helper()
	rootDir = t.TempDir()
	for path, text := range procs {
		dir := filepath.Join(rootDir, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeInPlace(t, filepath.Join(dir, "cgroup.procs"), text)
	}
	return rootDir
}

func mustProcs(t *testing.T, r *FileReader, c *Cgroup, into []int) []int {
	t.Helper()
	pids, err := r.Procs(c, into)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestProcsOfRecordedTrees(t *testing.T) {
	for _, name := range fixturetree.Names() {
		rootDir, procDir := fixturetree.Write(t, name)
		r := newTestReader(t, rootDir, FileReaderConfig{})
		var found []int
		for _, c := range everyCgroup(t, rootDir)[1:] {
			pids := mustProcs(t, r, c, nil)
			for _, pid := range pids {
				text, err := os.ReadFile(filepath.Join(procDir, fmt.Sprint(pid), "cgroup"))
				if err != nil {
					t.Fatal(err)
				}
				// The recorded /proc tells the same from the process's side.
				of := strings.TrimSpace(strings.TrimPrefix(string(text), "0::"))
				if !strings.HasPrefix(of+"/", c.Path+"/") {
					t.Errorf("%s: process %d is in %s", c.Path, pid, of)
				}
			}
			if strings.Count(c.Path, "/") == 1 {
				found = pids
			}
		}
		if len(found) != 19 {
			t.Errorf("%s: %d processes below kubepods, want 19", name, len(found))
		}
	}
}

func TestProcsBelow(t *testing.T) {
	rootDir := procsTree(t, map[string]string{
		"c": "1\n2\n", "c/init.scope": "3\n", "c/system.slice": "", "c/system.slice/a": "4\n0\n5", "other": "9\n",
	})
	r := newTestReader(t, rootDir, FileReaderConfig{})
	got := mustProcs(t, r, cgroupAt(t, rootDir, "c"), []int{100})
	slices.Sort(got[1:])
	if diff := cmp.Diff([]int{100, 1, 2, 3, 4, 5}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := openDescriptors(t, rootDir); got != 1 {
		t.Errorf("%d descriptors left open, want the root's", got)
	}
}

func TestProcsOfThreadedCgroups(t *testing.T) {
	rootDir := procsTree(t, map[string]string{"c": "1\n", "c/threaded": "2\n"})
	r := newTestReader(t, rootDir, FileReaderConfig{})
	before := r.pread
	r.pread = func(fd int, p []byte, offset int64) (int, error) {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && strings.Contains(target, "/threaded/") {
			return -1, unix.EOPNOTSUPP
		}
		return before(fd, p, offset)
	}
	if diff := cmp.Diff([]int{1}, mustProcs(t, r, cgroupAt(t, rootDir, "c"), nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProcsInPieces(t *testing.T) {
	var want []int
	var text strings.Builder
	for pid := 1; pid <= 20000; pid++ {
		want = append(want, pid)
		fmt.Fprintln(&text, pid)
	}
	rootDir := procsTree(t, map[string]string{"c": text.String()})
	r := newTestReader(t, rootDir, FileReaderConfig{})
	if diff := cmp.Diff(want, mustProcs(t, r, cgroupAt(t, rootDir, "c"), nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProcsBounds(t *testing.T) {
	deep, wide := map[string]string{}, map[string]string{}
	path := "c"
	for depth := range maxProcsDepth + 2 {
		deep[path] = fmt.Sprintf("%d\n", depth+1)
		path += "/c"
	}
	for i := range maxProcsCgroups + 10 {
		wide[fmt.Sprintf("c/%d", i)] = fmt.Sprintf("%d\n", i+1)
	}
	wide["c"] = ""
	tests := []struct {
		name  string
		procs map[string]string
		want  int
	}{
		{"levels", deep, maxProcsDepth + 1},
		{"cgroups", wide, maxProcsCgroups - 1},
		{"processes", map[string]string{"c": strings.Repeat("7\n", maxProcs+1)}, maxProcs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rootDir := procsTree(t, tt.procs)
			r := newTestReader(t, rootDir, FileReaderConfig{})
			if got := len(mustProcs(t, r, cgroupAt(t, rootDir, "c"), nil)); got != tt.want {
				t.Errorf("%d processes, want %d", got, tt.want)
			}
			if cut := r.Stats().ProcsCut; cut != 1 {
				t.Errorf("counted %d times that processes were left out, want 1", cut)
			}
		})
	}
}

func TestProcsErrors(t *testing.T) {
	rootDir := procsTree(t, map[string]string{"c": "1\n", "c/d": "2\nx\n", "gone": ""})
	r := newTestReader(t, rootDir, FileReaderConfig{})
	c, vanished := cgroupAt(t, rootDir, "c"), cgroupAt(t, rootDir, "gone")
	if err := os.RemoveAll(filepath.Join(rootDir, "gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Procs(vanished, nil); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
	pids, err := r.Procs(c, nil)
	var parseErr *ParseError
	if !errors.As(err, &parseErr) || !strings.Contains(err.Error(), `"d"`) {
		t.Errorf("error %v, want a ParseError that names the cgroup below", err)
	}
	if diff := cmp.Diff([]int{1, 2}, pids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(rootDir, "c/cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Procs(c, nil); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("no cgroup.procs in a living cgroup: error %v", err)
	}
}
