// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const (
	uid       = "1229482e-a57d-40e9-be59-40cc8c771525"
	uidSlice  = "1229482e_a57d_40e9_be59_40cc8c771525"
	uidStatic = "5c6b1d8c1f2e4a7d9b3e0f6a8c7d2e41"
	id        = "e532c41ff3209b2bceb4874129db5beb33e408cbbaa09ad287016272f7209ac9"
)

// The kubepods cgroups of the common set-ups.
func kubepodsSystemd() Kubepods  { return Kubepods{Path: "/kubepods.slice", Driver: DriverSystemd} }
func kubepodsCgroupfs() Kubepods { return Kubepods{Path: "/kubepods", Driver: DriverCgroupfs} }
func kubepodsKind() Kubepods {
	return Kubepods{Path: "/kubelet.slice/kubelet-kubepods.slice", Driver: DriverSystemd}
}
func kubepodsKindOnHost() Kubepods {
	return Kubepods{Path: "/system.slice/docker-" + id + ".scope/kubelet/kubepods", Driver: DriverCgroupfs}
}

func TestClassify(t *testing.T) {
	burstable := "/kubepods.slice/kubepods-burstable.slice"
	pod := burstable + "/kubepods-burstable-pod" + uidSlice + ".slice"
	container := func(runtime string) Cgroup {
		return Cgroup{Level: LevelContainer, QoS: Burstable, PodUID: uid, ContainerID: id, Runtime: runtime}
	}
	tests := []struct {
		name string
		in   Kubepods
		path string
		want Cgroup // without its Path
	}{
		{"kubepods, systemd", kubepodsSystemd(), "/kubepods.slice", Cgroup{Level: LevelKubepods}},
		{"kubepods, cgroupfs", kubepodsCgroupfs(), "/kubepods", Cgroup{Level: LevelKubepods}},
		{"burstable, systemd", kubepodsSystemd(), burstable, Cgroup{Level: LevelQoS, QoS: Burstable}},
		{"best effort, cgroupfs", kubepodsCgroupfs(), "/kubepods/besteffort", Cgroup{Level: LevelQoS, QoS: BestEffort}},
		{"guaranteed pod, systemd", kubepodsSystemd(), "/kubepods.slice/kubepods-pod" + uidSlice + ".slice",
			Cgroup{Level: LevelPod, QoS: Guaranteed, PodUID: uid}},
		{"guaranteed pod, cgroupfs", kubepodsCgroupfs(), "/kubepods/pod" + uid, Cgroup{Level: LevelPod, QoS: Guaranteed, PodUID: uid}},
		{"burstable pod, systemd", kubepodsSystemd(), pod, Cgroup{Level: LevelPod, QoS: Burstable, PodUID: uid}},
		{"static pod, systemd", kubepodsSystemd(), burstable + "/kubepods-burstable-pod" + uidStatic + ".slice",
			Cgroup{Level: LevelPod, QoS: Burstable, PodUID: uidStatic}},
		{"static pod, cgroupfs", kubepodsCgroupfs(), "/kubepods/burstable/pod" + uidStatic,
			Cgroup{Level: LevelPod, QoS: Burstable, PodUID: uidStatic}},
		{"containerd", kubepodsSystemd(), pod + "/cri-containerd-" + id + ".scope", container("containerd")},
		{"CRI-O", kubepodsSystemd(), pod + "/crio-" + id + ".scope", container("cri-o")},
		{"Docker", kubepodsSystemd(), pod + "/docker-" + id + ".scope", container("docker")},
		{"Podman", kubepodsSystemd(), pod + "/libpod-" + id + ".scope", container("")},
		{"another runtime", kubepodsSystemd(), pod + "/isulad-" + id + ".scope", container("")},
		{"plain id, cgroupfs", kubepodsCgroupfs(), "/kubepods/burstable/pod" + uid + "/" + id, container("")},
		{"CRI-O, cgroupfs", kubepodsCgroupfs(), "/kubepods/burstable/pod" + uid + "/crio-" + id, container("cri-o")},
		{"kind, slice", kubepodsKind(), "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice",
			Cgroup{Level: LevelQoS, QoS: BestEffort}},
		{"kind, container", kubepodsKind(),
			"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uidSlice +
				".slice/cri-containerd-" + id + ".scope", container("containerd")},
		{"kind seen from its host", kubepodsKindOnHost(), kubepodsKindOnHost().Path + "/burstable/pod" + uid + "/" + id, container("")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Path = tt.path
			got, ok := Classify(tt.in, tt.path)
			if !ok {
				t.Fatalf("Classify(%v, %q) refused", tt.in, tt.path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Classify(%v, %q) (-want +got):\n%s", tt.in, tt.path, diff)
			}
		})
	}
}

func TestClassifyRefuses(t *testing.T) {
	pod := "/kubepods/burstable/pod" + uid
	slice := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidSlice + ".slice"
	systemd, cgroupfs := kubepodsSystemd(), kubepodsCgroupfs()
	tests := []struct {
		name string
		in   Kubepods
		path string
	}{
		{"no kubepods", Kubepods{}, "/kubepods"},
		{"nothing", cgroupfs, ""},
		{"the root", cgroupfs, "/"},
		{"not absolute", cgroupfs, "kubepods"},
		{"outside", cgroupfs, "/system.slice"},
		{"a longer name", cgroupfs, "/kubepods2"},
		{"not clean", cgroupfs, "/kubepods/"},
		{"not clean inside", cgroupfs, "/kubepods//burstable"},
		{"leading upwards", cgroupfs, "/kubepods/burstable/../besteffort"},
		{"another driver's slice", cgroupfs, "/kubepods/kubepods-burstable.slice"},
		{"another driver's QoS", systemd, "/kubepods.slice/burstable"},
		{"another driver's pod", systemd, "/kubepods.slice/pod" + uid},
		{"another prefix", kubepodsKind(), kubepodsKind().Path + "/kubepods-burstable.slice"},
		{"a pod of another class", systemd, "/kubepods.slice/kubepods-burstable.slice/kubepods-pod" + uidSlice + ".slice"},
		{"guaranteed slice", systemd, "/kubepods.slice/kubepods-guaranteed.slice"},
		{"pod with dashes, systemd", systemd, "/kubepods.slice/kubepods-pod" + uid + ".slice"},
		{"pod without UID", cgroupfs, "/kubepods/burstable/pod"},
		{"something like a pod", cgroupfs, "/kubepods/burstable/podman"},
		{"CRI-O's monitor", systemd, slice + "/crio-conmon-" + id + ".scope"},
		{"CRI-O's monitor, cgroupfs", cgroupfs, pod + "/crio-conmon-" + id},
		{"Podman's monitor", systemd, slice + "/libpod-conmon-" + id + ".scope"},
		{"monitor alone", systemd, slice + "/conmon-" + id + ".scope"},
		{"scope without a runtime", systemd, slice + "/" + id + ".scope"},
		{"unknown runtime, short id", systemd, slice + "/session-123456789012.scope"},
		{"short id", cgroupfs, pod + "/0123456789a"},
		{"long id", cgroupfs, pod + "/" + strings.Repeat("a", 129)},
		{"no hexadecimal", cgroupfs, pod + "/" + id[:63] + "g"},
		{"upper case", cgroupfs, pod + "/" + strings.ToUpper(id)},
		{"made by the container", cgroupfs, pod + "/" + id + "/init"},
		{"made by the container, looking like one", cgroupfs, pod + "/" + id + "/" + id},
		{"made by crun", systemd, slice + "/crio-" + id + ".scope/container"},
		{"255 bytes", cgroupfs, pod + "/" + strings.Repeat("x", 255)},
		{"too long", cgroupfs, pod + strings.Repeat("/x", 1000)},
		{"invalid UTF-8", cgroupfs, pod + "\xff"},
		{"newline", cgroupfs, pod + "\n"},
		{"terminal control", cgroupfs, "/kubepods/burstable/pod\x1b[2J" + uid},
		{"right-to-left override", cgroupfs, "/kubepods/burstable/pod\u202e" + uid},
		{"blank in the UID", cgroupfs, "/kubepods/burstable/pod1229482e a57d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := Classify(tt.in, tt.path); ok {
				t.Errorf("Classify(%v, %q) = %+v, want a refusal", tt.in, tt.path, got)
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	for _, suffix := range []string{
		"", "/burstable", "/pod" + uid, "/burstable/pod" + uid + "/" + id, "/besteffort/pod" + uidStatic + "/crio-" + id,
		"/kubepods-burstable.slice", "/kubepods-pod" + uidSlice + ".slice/cri-containerd-" + id + ".scope",
		"/kubepods-burstable.slice/kubepods-burstable-pod" + uidSlice + ".slice/crio-conmon-" + id + ".scope",
		"/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + uidSlice + ".slice", "/pod\xff\n", "/a/b/c/d",
	} {
		f.Add(uint8(0), suffix)
		f.Add(uint8(1), suffix)
		f.Add(uint8(2), suffix)
	}
	f.Fuzz(func(t *testing.T, which uint8, suffix string) {
		kinds := []Kubepods{kubepodsSystemd(), kubepodsCgroupfs(), kubepodsKind(), kubepodsKindOnHost()}
		k := kinds[int(which)%len(kinds)]
		path := k.Path + suffix
		c, ok := Classify(k, path)
		if !ok {
			if diff := cmp.Diff(Cgroup{}, c); diff != "" {
				t.Errorf("refused %q, and still says:\n%s", path, diff)
			}
			return
		}
		checkClassified(t, k, path, c)
	})
}

// checkClassified holds c to what every accepted path must give.
func checkClassified(t *testing.T, k Kubepods, path string, c Cgroup) {
	t.Helper()
	if c.Path != path || len(path) > maxPathBytes {
		t.Errorf("path %q became %q", path, c.Path)
	}
	for _, s := range []string{c.Path, c.PodUID, c.ContainerID, c.Runtime} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q of %q cannot be shown", s, path)
		}
	}
	elements := strings.Count(path[len(k.Path):], "/")
	want := map[Level]int{LevelKubepods: 0, LevelQoS: 1, LevelPod: 1, LevelContainer: 2}[c.Level]
	if c.Level >= LevelPod && c.QoS != Guaranteed {
		want++
	}
	if elements != want {
		t.Errorf("%q is at level %v, class %v, with %d elements below kubepods", path, c.Level, c.QoS, elements)
	}
	if (c.PodUID != "") != (c.Level >= LevelPod) || (c.ContainerID != "") != (c.Level == LevelContainer) {
		t.Errorf("%q at level %v has pod %q, container %q", path, c.Level, c.PodUID, c.ContainerID)
	}
	if len(c.PodUID) > maxPodUIDBytes || len(c.ContainerID) > maxIDDigits {
		t.Errorf("%q has an unbounded pod %q or container %q", path, c.PodUID, c.ContainerID)
	}
	if c.Level > LevelKubepods {
		parent, ok := Classify(k, path[:strings.LastIndexByte(path, '/')])
		if !ok || parent.Level >= c.Level || c.Level == LevelContainer && parent.PodUID != c.PodUID {
			t.Errorf("%q at level %v has the parent %+v (%v)", path, c.Level, parent, ok)
		}
	}
}
