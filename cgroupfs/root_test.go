// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cgroups "github.com/containerd/cgroups/v3"
)

// containerd's library is the second opinion on whatever this machine has.
func TestDetectModeAgreesWithContainerd(t *testing.T) {
	const mount = "/sys/fs/cgroup"
	want := map[cgroups.CGMode]Mode{
		cgroups.Unified: ModeUnified, cgroups.Hybrid: ModeHybrid, cgroups.Legacy: ModeLegacy,
	}[cgroups.Mode()]
	if want == ModeNone {
		t.Skipf("no cgroup file system at %s", mount)
	}
	got, err := DetectMode(mount)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("DetectMode = %v, want %v", got, want)
	}
	t.Logf("this machine has %v", got)
}

func TestCheckRootHere(t *testing.T) {
	const mount = "/sys/fs/cgroup"
	mode, err := DetectMode(mount)
	if err != nil || mode == ModeNone {
		t.Skipf("no cgroup file system at %s: %v", mount, err)
	}
	err = CheckRoot(mount)
	if mode == ModeUnified {
		if err != nil {
			t.Error(err)
		}
		return
	}
	wantRootError(t, err, mount, mode, "systemd.unified_cgroup_hierarchy=1")
	if mode == ModeHybrid {
		// The v2 half is a true cgroup v2 mount, and still of no use.
		half := filepath.Join(mount, "unified")
		wantRootError(t, CheckRoot(half), half, ModeHybrid, "systemd.unified_cgroup_hierarchy=1")
	}
}

func TestCheckRootRefuses(t *testing.T) {
	ordinary := t.TempDir()
	wantRootError(t, CheckRoot(ordinary), ordinary, ModeNone, "--path.cgroupfs")

	missing := filepath.Join(ordinary, "missing")
	err := CheckRoot(missing)
	wantRootError(t, err, missing, ModeNone, "mount the host's /sys/fs/cgroup")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no fs.ErrNotExist", err)
	}
}

func TestCheckRootWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(closed, "cgroup")
	wantRootError(t, CheckRoot(below), below, ModeNone, mendPermission)
}

func TestCheckControllers(t *testing.T) {
	tests := []struct {
		controllers string
		ok          bool
	}{
		{"cpuset cpu io memory hugetlb pids rdma misc\n", true},
		{"cpuset cpu io pids\n", true},
		{"memory\n", true},
		{"cpuset pids\n", false},
		{"\n", false},
		{"", false},
	}
	for _, tt := range tests {
		err := checkControllers("/x", []byte(tt.controllers))
		if (err == nil) != tt.ok {
			t.Errorf("checkControllers(%q) = %v, want ok %v", tt.controllers, err, tt.ok)
		}
		if err != nil {
			wantRootError(t, err, "/x", ModeHybrid, "neither cpu nor memory")
		}
	}
}

// wantRootError holds err to a *RootError that names dir, mode and the mend.
func wantRootError(t *testing.T, err error, dir string, mode Mode, mend string) {
	t.Helper()
	var re *RootError
	if !errors.As(err, &re) {
		t.Fatalf("error %v, want a *RootError", err)
	}
	if re.Dir != dir || re.Mode != mode {
		t.Errorf("error about %s, which is %v, want %s, %v", re.Dir, re.Mode, dir, mode)
	}
	if text := err.Error(); !strings.Contains(text, dir) || !strings.Contains(text, mend) {
		t.Errorf("%q does not name %q and %q", text, dir, mend)
	}
}
