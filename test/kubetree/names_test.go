// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

func TestNames(t *testing.T) {
	const uid = "9f3b21aa-1b2c-4d3e-8f90-0123456789ab"
	for _, test := range []struct {
		driver        Driver
		root          string
		runtime       Runtime
		qos           cgroupfs.QoS
		pod, basename string
	}{
		{
			Systemd, "", Containerd, cgroupfs.Burstable,
			"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9f3b21aa_1b2c_4d3e_8f90_0123456789ab.slice",
			"cri-containerd-ID.scope",
		},
		{
			Systemd, "/", CRIO, cgroupfs.Guaranteed,
			"kubepods.slice/kubepods-pod9f3b21aa_1b2c_4d3e_8f90_0123456789ab.slice",
			"crio-ID.scope",
		},
		{
			Systemd, "/kubelet", Docker, cgroupfs.BestEffort,
			"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod9f3b21aa_1b2c_4d3e_8f90_0123456789ab.slice",
			"docker-ID.scope",
		},
		{Cgroupfs, "", Containerd, cgroupfs.Burstable, "kubepods/burstable/pod" + uid, "ID"},
		{Cgroupfs, "/a/b", CRIO, cgroupfs.Guaranteed, "a/b/kubepods/pod" + uid, "crio-ID"},
		{Cgroupfs, "", Plain, cgroupfs.BestEffort, "kubepods/besteffort/pod" + uid, "ID"},
	} {
		n, err := newNames(test.driver, test.root, test.runtime)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.pod(test.qos, uid); got != test.pod {
			t.Errorf("pod of %s, root %q:\n got %s\nwant %s", test.driver, test.root, got, test.pod)
		}
		if got := n.container("ID"); got != test.basename {
			t.Errorf("container of %s, %s: %s, want %s", test.driver, test.runtime, got, test.basename)
		}
	}
	for _, wrong := range []struct {
		driver  Driver
		runtime Runtime
	}{{"openrc", Containerd}, {Systemd, "rkt"}} {
		if _, err := newNames(wrong.driver, "", wrong.runtime); err == nil || !strings.Contains(err.Error(), `want "`) {
			t.Errorf("%v: error %v, want one that says what to write", wrong, err)
		}
	}
}

func TestIDsRepeat(t *testing.T) {
	if a, b := UID(1, "x"), UID(1, "x"); a != b || a == UID(2, "x") || a == UID(1, "y") || len(a) != 36 {
		t.Errorf("UIDs %s and %s", a, b)
	}
	if got := StaticUID(1, "x"); len(got) != 32 || strings.Contains(got, "-") {
		t.Errorf("static UID %s, want 32 hex digits", got)
	}
	if a := ContainerID(1, "u", "c", 0); len(a) != 64 || a == ContainerID(1, "u", "c", 1) {
		t.Errorf("container id %s, want 64 hex digits that differ by attempt", a)
	}
}

// TestRules has the figures of a real node with kubelet 1.36.3.
func TestRules(t *testing.T) {
	for milli, want := range map[int64]int64{0: 1, 50: 2, 100: 4, 200: 8, 2000: 79, 1 << 40: 10000} {
		if got := cpuWeight(milli); got != want {
			t.Errorf("weight of %d milli CPU is %d, want %d", milli, got, want)
		}
	}
	for milli, want := range map[int64]string{0: "max 100000", 1: "1000 100000", 150: "15000 100000", 2500: "250000 100000"} {
		if got := cpuMax(milli); got != want {
			t.Errorf("cpu.max of %d milli CPU is %q, want %q", milli, got, want)
		}
	}
	const node, allocatable = 3048780 << 10, 2912190464
	for _, test := range []struct {
		r    Resources
		qos  cgroupfs.QoS
		high string
		adj  int
	}{
		{Resources{MemoryRequestBytes: 4 * mi, MemoryLimitBytes: 64 * mi}, cgroupfs.Burstable, "60817408", 999},
		{Resources{MemoryRequestBytes: 256 * mi}, cgroupfs.Burstable, "2647814144", 915},
		{Resources{MemoryRequestBytes: 512 * mi}, cgroupfs.Burstable, "2674655232", 829},
		{Resources{MemoryRequestBytes: 64 * mi, MemoryLimitBytes: 64 * mi}, cgroupfs.Guaranteed, "max", -997},
		{Resources{}, cgroupfs.BestEffort, "max", 1000},
		{Resources{CPURequestMilli: 10}, cgroupfs.Burstable, "max", 999},
	} {
		if got := memoryHigh(test.r, test.qos, allocatable); got != test.high {
			t.Errorf("memory.high of %+v is %s, want %s", test.r, got, test.high)
		}
		if got := oomScoreAdj(test.r, test.qos, false, node); got != test.adj {
			t.Errorf("oom_score_adj of %+v is %d, want %d", test.r, got, test.adj)
		}
	}
	if got := oomScoreAdj(Resources{}, cgroupfs.Burstable, true, node); got != -997 {
		t.Errorf("oom_score_adj of a node-critical pod is %d, want -997", got)
	}
}

func TestFrozenPodsHaveEveryKind(t *testing.T) {
	qos, layouts := map[cgroupfs.QoS]bool{}, map[Layout]bool{}
	names := map[string]bool{}
	for _, pod := range FrozenPods(12, 2) {
		qos[qosOf(pod.Containers)] = true
		layouts[pod.Containers[0].Layout] = true
		names[pod.Name] = true
		if len(pod.Containers) != 2 || pod.Containers[0].Name == pod.Containers[1].Name {
			t.Errorf("pod %s has containers %+v, want 2 with different names", pod.Name, pod.Containers)
		}
	}
	if len(qos) != 3 || len(layouts) != 3 || len(names) != 12 {
		t.Errorf("%d classes, %d layouts, %d names; want 3, 3, 12", len(qos), len(layouts), len(names))
	}
}
