// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// directories makes the given directories and returns their root.
func directories(t testing.TB, dirs ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range dirs {
		mkdir(t, filepath.Join(root, dir))
	}
	return root
}

func TestFindKubepods(t *testing.T) {
	const (
		systemdPod  = "kubepods.slice/kubepods-pod" + uidSlice + ".slice"
		cgroupfsPod = "kubepods/burstable/pod" + uid
	)
	onHost := "system.slice/docker-" + id + ".scope/kubelet.slice/kubelet-kubepods.slice"
	rootless := "user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope/kubelet.slice/kubelet-kubepods.slice"
	tests := []struct {
		name string
		dirs []string
		hint string
		want string // empty: none
		kind Driver
	}{
		{"nothing yet", []string{"system.slice/containerd.service", "init.scope"}, "", "", 0},
		{"systemd", []string{"system.slice", systemdPod}, "", "/kubepods.slice", DriverSystemd},
		{"cgroupfs", []string{"system.slice", cgroupfsPod}, "", "/kubepods", DriverCgroupfs},
		{"without pods", []string{"kubepods.slice", "system.slice/a/b"}, "", "/kubepods.slice", DriverSystemd},
		{"kind", []string{"kubelet.slice/kubelet-kubepods.slice", "kubelet.slice/kubelet-kubelet.service"}, "",
			"/kubelet.slice/kubelet-kubepods.slice", DriverSystemd},
		{"kind, cgroupfs", []string{"kubelet/kubepods"}, "", "/kubelet/kubepods", DriverCgroupfs},
		{"kind seen from its host", []string{onHost, "system.slice/ssh.service"}, "", "/" + onHost, DriverSystemd},
		{"kind seen from its host, cgroupfs", []string{"docker/" + id + "/kubelet/kubepods"}, "",
			"/docker/" + id + "/kubelet/kubepods", DriverCgroupfs},
		{"rootless kind", []string{rootless}, "", "/" + rootless, DriverSystemd},
		{"too deep", []string{strings.Repeat("a/", maxSearchDepth) + "kubepods"}, "", "", 0},
		{"a pod's own Kubernetes", []string{cgroupfsPod + "/" + id + "/kubepods/pod" + uid}, "", "/kubepods", DriverCgroupfs},
		{"a slice of another parent", []string{"other.slice/kubelet-kubepods.slice"}, "", "", 0},
		{"left behind by another driver", []string{"kubepods/burstable", systemdPod}, "", "/kubepods.slice", DriverSystemd},
		{"left behind near, in use far", []string{"kubepods.slice", "kubelet/" + cgroupfsPod}, "", "/kubelet/kubepods", DriverCgroupfs},
		{"several, none in use", []string{"kubepods.slice", "kubepods", "a/kubepods"}, "", "/kubepods", DriverCgroupfs},
		{"several, all in use", []string{systemdPod, cgroupfsPod, "a/" + cgroupfsPod}, "", "/kubepods", DriverCgroupfs},
		{"names that cannot be shown", []string{"a\n/kubepods", "b/kubepods"}, "", "/b/kubepods", DriverCgroupfs},

		{"hint: kubepods itself", []string{"a/kubepods", "kubepods/pod" + uid}, "/a/kubepods", "/a/kubepods", DriverCgroupfs},
		{"hint: its parent", []string{"a/kubepods", "kubepods/pod" + uid}, "a/", "/a/kubepods", DriverCgroupfs},
		{"hint: its parent, a slice", []string{"a.slice/a-kubepods.slice"}, "/a.slice", "/a.slice/a-kubepods.slice", DriverSystemd},
		{"hint: the kubelet's cgroup root", []string{"a.slice/a-b_c.slice/a-b_c-kubepods.slice"}, "/a/b-c",
			"/a.slice/a-b_c.slice/a-b_c-kubepods.slice", DriverSystemd},
		{"hint: the root", []string{"a/" + cgroupfsPod, "kubepods.slice"}, "/", "/kubepods.slice", DriverSystemd},
		{"hint: with the root in front", []string{"a/kubepods"}, "ROOT/a", "/a/kubepods", DriverCgroupfs},
		{"hint: the root by its path", []string{"kubepods"}, "ROOT", "/kubepods", DriverCgroupfs},
		{"hint: a node's container", []string{onHost, "kubepods/pod" + uid}, "system.slice/docker-" + id + ".scope/kubelet.slice", "/" + onHost, DriverSystemd},
		{"hint: wrong", []string{"kubepods"}, "/b", "", 0},
		{"hint: upwards", []string{"kubepods"}, "/../../kubepods", "/kubepods", DriverCgroupfs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := directories(t, tt.dirs...)
			got, ok, err := FindKubepods(root, strings.Replace(tt.hint, "ROOT", root, 1))
			if err != nil {
				t.Fatal(err)
			}
			if ok != (tt.want != "") || got.Path != tt.want || got.Driver != tt.kind {
				t.Errorf("FindKubepods = %q by %v, %v, want %q by %v", got.Path, got.Driver, ok, tt.want, tt.kind)
			}
		})
	}
}

func TestFindKubepodsIsBounded(t *testing.T) {
	root := t.TempDir()
	for n := range maxSearchDirs + 10 {
		mkdir(t, filepath.Join(root, fmt.Sprintf("a%04d", n)))
	}
	mkdir(t, filepath.Join(root, "a0000", "b"))
	s := search{root: open(t, root)}
	if _, _, err := s.everywhere(); err != nil {
		t.Fatal(err)
	}
	if s.listed > maxSearchDirs {
		t.Errorf("listed %d directories, want no more than %d", s.listed, maxSearchDirs)
	}
}

func TestFindKubepodsNamesAnUnreadableRoot(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, ok, err := FindKubepods(missing, "")
	if ok || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("FindKubepods = %v, %v, want fs.ErrNotExist with the path %s", ok, err, missing)
	}
}
