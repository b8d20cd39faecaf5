// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unpacked is one member of an archive, as read back.
type unpacked struct {
	Name, Data   string
	Mode         uint32
	Major, Minor uint32
}

// readCPIO is an independent reader of the format, as strict as the kernel's.
func readCPIO(archive []byte) ([]unpacked, error) {
	var members []unpacked
	for pos := 0; ; {
		if len(archive) < pos+110 || string(archive[pos:pos+6]) != "070701" {
			return nil, fmt.Errorf("no header at byte %d", pos)
		}
		var fields [13]uint32
		for i := range fields {
			raw, err := hex.DecodeString(string(archive[pos+6+8*i : pos+14+8*i]))
			if err != nil {
				return nil, err
			}
			fields[i] = binary.BigEndian.Uint32(raw)
		}
		nameEnd := pos + 110 + int(fields[11])
		if archive[nameEnd-1] != 0 {
			return nil, fmt.Errorf("name at byte %d has no end", pos)
		}
		name := string(archive[pos+110 : nameEnd-1])
		dataStart := (nameEnd + 3) &^ 3
		dataEnd := dataStart + int(fields[6])
		if name == "TRAILER!!!" {
			return members, nil
		}
		members = append(members, unpacked{
			Name: name, Data: string(archive[dataStart:dataEnd]), Mode: fields[1], Major: fields[9], Minor: fields[10],
		})
		pos = (dataEnd + 3) &^ 3
	}
}

func writeArchive(t *testing.T, fill func(*cpioWriter) error) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	if err := fill(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func sampleArchive(t *testing.T) []byte {
	host := t.TempDir()
	for name, text := range map[string]string{"a": "1", "sub/b": "22", "sub/c": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(host, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(host, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b", filepath.Join(host, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(host, 0o755); err != nil {
		t.Fatal(err)
	}
	return writeArchive(t, func(w *cpioWriter) error {
		for _, err := range []error{
			w.CharDevice("dev/console", 0o600, 5, 1),
			w.File("/bin/tool", 0o755, 5, strings.NewReader("12345")),
			w.Dir("bin", 0o700),
			w.Link("/bin/alias", "tool"),
			w.HostDir("/srv/data", host),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func TestCPIO(t *testing.T) {
	got, err := readCPIO(sampleArchive(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []unpacked{
		{Name: "dev", Mode: 0o040755},
		{Name: "dev/console", Mode: 0o020600, Major: 5, Minor: 1},
		{Name: "bin", Mode: 0o040755},
		{Name: "bin/tool", Mode: 0o100755, Data: "12345"},
		{Name: "bin/alias", Mode: 0o120777, Data: "tool"},
		{Name: "srv", Mode: 0o040755},
		{Name: "srv/data", Mode: 0o040755},
		{Name: "srv/data/a", Mode: 0o100640, Data: "1"},
		{Name: "srv/data/link", Mode: 0o120777, Data: "sub/b"},
		{Name: "srv/data/sub", Mode: 0o040755},
		{Name: "srv/data/sub/b", Mode: 0o100640, Data: "22"},
		{Name: "srv/data/sub/c", Mode: 0o100640},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestCPIOIsReproducible(t *testing.T) {
	if !bytes.Equal(sampleArchive(t), sampleArchive(t)) {
		t.Error("the same files gave different archives")
	}
}

func TestCPIOAgainstTheProgram(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("the program cpio is not installed")
	}
	dir := t.TempDir()
	// A device node cannot be made without root, so this archive has none.
	archive := writeArchive(t, func(w *cpioWriter) error {
		if err := w.Link("etc/alias", "name"); err != nil {
			return err
		}
		return w.File("etc/name", 0o640, 7, strings.NewReader("machine"))
	})
	cmd := exec.CommandContext(t.Context(), "cpio", "-idm", "--quiet")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "etc/alias"))
	if err != nil || string(text) != "machine" {
		t.Errorf("read %q through the link, error %v", text, err)
	}
	info, err := os.Stat(filepath.Join(dir, "etc/name"))
	if err != nil || info.Mode() != fs.FileMode(0o640) {
		t.Errorf("mode %v, error %v; want 0640", info, err)
	}
}

func TestCPIORefuses(t *testing.T) {
	tests := map[string]struct {
		add  func(*cpioWriter) error
		want string
	}{
		"short file": {func(w *cpioWriter) error { return w.File("f", 0o644, 9, strings.NewReader("123")) }, "3 bytes instead of 9"},
		"huge file":  {func(w *cpioWriter) error { return w.File("f", 0o644, 1<<32, strings.NewReader("")) }, "more than a cpio archive can hold"},
		"no file":    {func(w *cpioWriter) error { return w.HostFile("f", "/does/not/exist") }, "/does/not/exist"},
		"directory":  {func(w *cpioWriter) error { return w.HostFile("f", os.TempDir()) }, "no regular file"},
		"no dir":     {func(w *cpioWriter) error { return w.HostDir("f", "/does/not/exist") }, "/does/not/exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.add(newCPIOWriter(&bytes.Buffer{}))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want one with %q", err, test.want)
			}
		})
	}
}
