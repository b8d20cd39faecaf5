// SPDX-License-Identifier: Apache-2.0

// Package fixturetree unpacks recorded cgroup v2 trees for tests. It owns the
// recordings and their form on disk. It must not know what the files mean, and
// nothing but tests may import it: not even cgroupfs, whose own tests use it.
package fixturetree

import (
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The recordings: the same pods (one per QoS class and then some: pod-level
// resources, a sidecar, a DaemonSet, a critical pod) on one node after the
// other, cgroups of other services left out. Kernel 6.12 on arm64 with 4 KiB
// pages, kubelet 1.36.3 with MemoryQoS, containerd 2.4.2, runc 1.1.15, no swap.
const (
	SystemdSteady  = "systemd-steady"  // cgroup driver systemd
	CgroupfsSteady = "cgroupfs-steady" // cgroup driver cgroupfs
)

// Names returns every recording there is.
func Names() []string { return []string{SystemdSteady, CgroupfsSteady} }

// The recordings are embedded, so that compiled tests run without the source
// tree, in a virtual machine for example.
//
//go:embed testdata/*.txtar
var recordings embed.FS

// Write unpacks the recording into a new directory of the test, and returns
// where it stands for /sys/fs/cgroup and where for /proc. The caller may change
// everything below both. A name without a recording fails the test.
//
// The files differ from the kernel's in three ways: inode numbers are those of
// the temporary directory, files are ordinary (a removed cgroup gives ENOENT,
// never ENODEV), and proc/<pid>/cmdline has blanks between the arguments
// and a newline after them where the kernel has NUL bytes. Of the cgroup root
// itself only the files that the recorder was asked for are there; /proc has the
// pods' processes and meminfo.
func Write(t testing.TB, name string) (rootDir, procDir string) {
	t.Helper()
	dir := t.TempDir()
	if err := unpack(dir, recording(t, name)); err != nil {
		t.Fatalf("unpack recording %q: %v", name, err)
	}
	return filepath.Join(dir, "sys", "fs", "cgroup"), filepath.Join(dir, "proc")
}

// Texts returns every different text that the recordings have of files with
// this name ("cpu.stat", "oom_score_adj"): seeds for a fuzz test. A name
// that was not recorded fails the test.
func Texts(t testing.TB, fileName string) [][]byte {
	t.Helper()
	var texts [][]byte
	seen := make(map[string]bool)
	for _, name := range Names() {
		for _, file := range recording(t, name).Files {
			if path.Base(file.Name) == fileName && !seen[string(file.Data)] {
				seen[string(file.Data)] = true
				texts = append(texts, file.Data)
			}
		}
	}
	if len(texts) == 0 {
		t.Fatalf("no file %q in any recording", fileName)
	}
	return texts
}

func recording(t testing.TB, name string) *txtar.Archive {
	t.Helper()
	data, err := recordings.ReadFile(path.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatalf("read recording %q (there are %q): %v", name, Names(), err)
	}
	return txtar.Parse(data)
}

// unpack writes the archive's files below dir and refuses names that lead out
// of it. (os.Root would refuse too, but takes several times as long for the
// 1,500 files of a recording.)
func unpack(dir string, archive *txtar.Archive) error {
	made := make(map[string]bool)
	for _, file := range archive.Files {
		if !filepath.IsLocal(file.Name) {
			return fmt.Errorf("file name %q leads out of the directory", file.Name)
		}
		name := filepath.Join(dir, file.Name)
		if parent := filepath.Dir(name); !made[parent] {
			if err := os.MkdirAll(parent, 0o755); err != nil {
				return err
			}
			made[parent] = true
		}
		if err := os.WriteFile(name, file.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
