// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// open opens dir for listing until the test ends.
func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := openDirAt(unix.AT_FDCWD, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestDirListAgreesWithReadDir(t *testing.T) {
	root := t.TempDir()
	for n := range 1000 { // more than fit into one system call
		mkdir(t, filepath.Join(root, fmt.Sprintf("directory-with-a-rather-long-name-%d", n)))
	}
	write(t, filepath.Join(root, "file"), "")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, e := range entries {
		want = append(want, fmt.Sprint(e.Name(), " ", e.IsDir()))
	}
	var list dirList
	fd := open(t, root)
	for range 2 { // the second time the descriptor is at its end
		var got []string
		list.start(fd)
		for e, ok := list.next(); ok; e, ok = list.next() {
			got = append(got, fmt.Sprint(string(e.name), " ", e.isDir(fd)))
			unknown := dirEntry{name: e.name, kind: unix.DT_UNKNOWN}
			if unknown.isDir(fd) != e.isDir(fd) {
				t.Errorf("%s is a directory only if the entry says so", e.name)
			}
		}
		if list.err != nil {
			t.Fatal(list.err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
	}
}

func TestOpenDirRefusesLinks(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(root, "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	if fd, err := openDirAt(unix.AT_FDCWD, link); err == nil {
		unix.Close(fd)
		t.Error("a symbolic link was followed")
	}
}

// A malformed answer ends in an error, never beyond the buffer or in a loop.
func FuzzCutDirent(f *testing.F) {
	dir, err := openDirAt(unix.AT_FDCWD, f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := unix.Getdents(dir, buf)
	if err != nil {
		f.Fatal(err)
	}
	unix.Close(dir)
	f.Add(buf[:n])
	f.Add(buf[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			e, rest, err := cutDirent(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(e.name) == 0 || len(e.name) > len(b) || slices.Contains(e.name, 0) {
				t.Fatalf("entry %q, %d of %d bytes left", e.name, len(rest), len(b))
			}
			b = rest
		}
	})
}
