// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

const (
	capBPF     = 1 << (39 - 32)
	capPerfmon = 1 << (38 - 32)
)

// keepCapabilities leaves the whole process with the capabilities of these bits
// of the upper word, and with no others.
func keepCapabilities(upper uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{1: {Effective: upper, Permitted: upper}}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return errno
	}
	return nil
}

// asProcess runs a test of this package in a process of its own, as rights that
// were dropped do not come back.
func asProcess(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), "SLICEWATCH_ALONE="+name)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

func alone(t *testing.T) {
	t.Helper()
	if os.Getenv("SLICEWATCH_ALONE") != t.Name() {
		t.Skip("no test of its own: TestRights starts this in a process of its own")
	}
}

func TestRights(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	if _, err := tree.AddPod(kubetree.PodSpec{Name: "a", Containers: []kubetree.ContainerSpec{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	asProcess(t, "TestWithBPFAndPerfmonOnly")
	asProcess(t, "TestWithoutCapabilities")
}

// TestWithBPFAndPerfmonOnly holds that the two capabilities that the manifests
// give are enough, for all of it.
func TestWithBPFAndPerfmonOnly(t *testing.T) {
	alone(t)
	if err := keepCapabilities(capBPF | capPerfmon); err != nil {
		t.Fatal(err)
	}
	r, cgroups := openReader(t, Config{}), cgroupsOf(t)
	wrong, _ := compareReaders(t, r, fileReader(t), cgroups)
	// The tree is not frozen: only what cannot be read at all counts here.
	for _, w := range wrong {
		if strings.Contains(w, "did not come by") || strings.Contains(w, "there: false") {
			t.Error(w)
		}
	}
	var reading cgroupfs.Reading
	if err := r.ReadNow(cgroups[len(cgroups)-1], &reading); err != nil {
		t.Error(err)
	}
}

func TestWithoutCapabilities(t *testing.T) {
	alone(t)
	if err := keepCapabilities(0); err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable(t, Config{Root: treetest.Root}, bpf.NoPermission)
}

func TestWithoutTypes(t *testing.T) {
	treetest.Need(t)
	mustBeUnavailable(t, Config{Root: treetest.Root, KernelTypes: func() (*btf.Spec, error) {
		return nil, &bpf.Unavailable{Program: Name, Reason: bpf.NoBTF, Err: os.ErrNotExist}
	}}, bpf.NoBTF)
}

func mustBeUnavailable(t *testing.T, cfg Config, want bpf.Reason) {
	t.Helper()
	r, err := Open(cfg)
	if err == nil {
		_ = r.Close()
		t.Fatal("the iterator could be opened")
	}
	u, ok := errors.AsType[*bpf.Unavailable](err)
	if !ok || u.Reason != want || u.Mend() == "" {
		t.Errorf("want the reason %q and a mend, got %v", want, err)
	}
	t.Log(err)
}
