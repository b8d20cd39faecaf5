// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"

	"github.com/google/go-cmp/cmp"
)

const (
	podPath   = "/kubepods/burstable/pod291b489d-2a1b-4902-bfeb-8a36d1ea0182"
	appID     = "82fbbb3bc8413411b2c7766f869a963beb35eb824d6c4d6adf26e40f04d51408"
	sandboxID = "5b3e5fe58966a83bd5b3d61f150259fa9b09046a919709f1f743273e9692979f"
)

// kubeletSnapshot has what the kernel said of the cgroups in
// testdata/cadvisor-kubelet.prom, in its own units.
func kubeletSnapshot() snapshot.Snapshot {
	identity := func(name, image string) *snapshot.ContainerIdentity {
		return &snapshot.ContainerIdentity{Namespace: "default", Pod: "throttled", Name: name, Image: image, Known: true}
	}
	return snapshot.Snapshot{
		Taken: time.UnixMilli(1795291440786),
		Classes: [cgroupfs.NumQoS]snapshot.Slice{cgroupfs.Burstable: {
			Path: "/kubepods/burstable", Exists: true, Started: time.Unix(1795290646, 5e8), Measures: sliceReading(),
		}, cgroupfs.Guaranteed: {Exists: true, Measures: everything()}},
		Pods: []snapshot.Pod{{
			Series: 1, Path: podPath, QoS: cgroupfs.Burstable, Started: time.Unix(1795291167, 0), Measures: podReading(),
			Identity: &snapshot.PodIdentity{Namespace: "default", Name: "throttled", Known: true},
		}},
		Containers: []snapshot.Container{{
			Series: 1, Path: podPath + "/" + appID, ContainerID: appID, Processes: known(1), Started: time.Unix(1795291220, 0),
			Identity: identity("burn", "recorded.example/busybox:1"), Measures: appReading(),
		}, {
			Series: 2, Path: podPath + "/" + sandboxID, ContainerID: sandboxID, Processes: known(1), Started: time.Unix(1795291184, 0), Sandbox: true,
			Identity: identity("POD", "recorded.example/pause:1"), Measures: sandboxReading(),
		}},
	}
}

// calm are the counters that were 0 in all four cgroups.
func calm(values map[cgroupfs.Field]uint64) snapshot.Measures {
	for _, f := range []cgroupfs.Field{
		cgroupfs.CPUBurstPeriods, cgroupfs.CPUBurst, cgroupfs.SwapCurrent, cgroupfs.MemoryLocalEventMax,
		cgroupfs.MemoryEventHigh, cgroupfs.MemoryEventMax, cgroupfs.MemoryEventOOMKill,
	} {
		values[f] = 0
	}
	for _, f := range []cgroupfs.Field{cgroupfs.CPUPeriods, cgroupfs.CPUThrottledPeriods, cgroupfs.CPUThrottled,
		cgroupfs.MemoryPressureSome, cgroupfs.MemoryPressureFull, cgroupfs.IOPressureSome, cgroupfs.IOPressureFull} {
		if _, set := values[f]; !set {
			values[f] = 0
		}
	}
	m := measures(values)
	// cAdvisor knows no earlier incarnations.
	for f := range cgroupfs.NumFields {
		if m.Total.Has(f) {
			m.Total.Add(f, 1_000_000)
		}
	}
	return m
}

func sliceReading() snapshot.Measures {
	return calm(map[cgroupfs.Field]uint64{
		cgroupfs.CPUUsage: 75001424, cgroupfs.CPUUser: 31332220, cgroupfs.CPUSystem: 43669203,
		cgroupfs.CPUQuota: cgroupfs.Unlimited, cgroupfs.CPUPeriod: 100000, cgroupfs.CPUWeight: 13,
		cgroupfs.CPUPressureSome: 249525870, cgroupfs.CPUPressureFull: 224270093,
		cgroupfs.MemoryCurrent: 32342016, cgroupfs.MemoryPeak: 82677760, cgroupfs.MemoryAnon: 27353088, cgroupfs.MemoryFile: 819200,
		cgroupfs.MemoryInactiveFile: 819200, cgroupfs.MemoryMax: cgroupfs.Unlimited,
		cgroupfs.MemoryPressureSome: 2825677, cgroupfs.MemoryPressureFull: 2441771, cgroupfs.IOPressureSome: 2825, cgroupfs.IOPressureFull: 2825,
		cgroupfs.IOReadBytes: 495616, cgroupfs.IOWriteBytes: 4096,
	})
}

func podReading() snapshot.Measures {
	return calm(map[cgroupfs.Field]uint64{
		cgroupfs.CPUUsage: 19399440, cgroupfs.CPUUser: 13890426, cgroupfs.CPUSystem: 5509013,
		cgroupfs.CPUQuota: 10000, cgroupfs.CPUPeriod: 100000, cgroupfs.CPUWeight: 4,
		cgroupfs.CPUPeriods: 2420, cgroupfs.CPUThrottledPeriods: 2190, cgroupfs.CPUThrottled: 129242365,
		cgroupfs.CPUPressureSome: 172959209, cgroupfs.CPUPressureFull: 171711520,
		cgroupfs.MemoryCurrent: 5033984, cgroupfs.MemoryPeak: 18718720, cgroupfs.MemoryAnon: 4489216, cgroupfs.MemoryFile: 32768,
		cgroupfs.MemoryInactiveFile: 32768, cgroupfs.MemoryMax: 32 << 20,
	})
}

func appReading() snapshot.Measures {
	return calm(map[cgroupfs.Field]uint64{
		cgroupfs.CPUUsage: 15890853, cgroupfs.CPUUser: 12335775, cgroupfs.CPUSystem: 3555077,
		// The kernel had rescaled 10000 and 100000.
		cgroupfs.CPUQuota: 20000, cgroupfs.CPUPeriod: 200000, cgroupfs.CPUWeight: 4,
		cgroupfs.CPUPeriods: 1149, cgroupfs.CPUThrottledPeriods: 858, cgroupfs.CPUThrottled: 71784880,
		cgroupfs.CPUPressureSome: 142995756, cgroupfs.CPUPressureFull: 142354691,
		cgroupfs.MemoryCurrent: 233472, cgroupfs.MemoryPeak: 13918208, cgroupfs.MemoryAnon: 61440, cgroupfs.MemoryFile: 16384,
		cgroupfs.MemoryInactiveFile: 16384, cgroupfs.MemoryMax: 32 << 20,
	})
}

func sandboxReading() snapshot.Measures {
	return calm(map[cgroupfs.Field]uint64{
		cgroupfs.CPUUsage: 3031815, cgroupfs.CPUUser: 1203004, cgroupfs.CPUSystem: 1828810,
		cgroupfs.CPUQuota: cgroupfs.Unlimited, cgroupfs.CPUPeriod: 100000, cgroupfs.CPUWeight: 1,
		cgroupfs.CPUPressureSome: 23058403, cgroupfs.CPUPressureFull: 22537702,
		cgroupfs.MemoryCurrent: 4780032, cgroupfs.MemoryPeak: 8523776, cgroupfs.MemoryAnon: 4427776, cgroupfs.MemoryFile: 16384,
		cgroupfs.MemoryInactiveFile: 16384, cgroupfs.MemoryMax: cgroupfs.Unlimited,
	})
}

// The kubelet's own endpoint and ours must give the same series, labels and
// values for the same cgroups.
func TestCadvisorMatchesTheKubelet(t *testing.T) {
	recording, err := os.ReadFile("testdata/cadvisor-kubelet.prom")
	if err != nil {
		t.Fatal(err)
	}
	want := samples(t, string(recording))
	got := samples(t, text(t, NewCadvisorGatherer(storeOf(kubeletSnapshot()), Selection{})))
	for _, found := range []map[string]string{want, got} {
		for series, value := range found {
			delete(found, series)
			// The families that this kubelet did not have yet.
			if strings.HasPrefix(series, "container_memory_events_") {
				continue
			}
			// Each series was seen at a time of its own.
			if strings.HasPrefix(series, "container_last_seen") {
				value = value[:len("1.79529")]
			}
			// We sum over devices.
			found[strings.Replace(series, `device="/dev/vda",`, "", 1)] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-kubelet +slicewatch):\n%s", diff)
	}
	if len(want) != 106 {
		t.Errorf("the recording has %d series, 106 were recorded", len(want))
	}
}

func TestCadvisorTypesAreTheKubelets(t *testing.T) {
	want := map[string]string{"container_memory_failcnt": "COUNTER", "container_memory_max_usage_bytes": "GAUGE", "container_last_seen": "GAUGE"}
	for name, mf := range parse(t, text(t, NewCadvisorGatherer(storeOf(fullSnapshot()), Selection{}))) {
		kind, named := want[name]
		if !named {
			kind = "GAUGE"
			if strings.HasSuffix(name, "_total") {
				kind = "COUNTER"
			}
		}
		if mf.GetType().String() != kind {
			t.Errorf("%s is a %s, want %s", name, mf.GetType(), kind)
		}
	}
}

func TestCPUShares(t *testing.T) {
	for weight, want := range map[uint64]float64{0: 0, 1: 2, 4: 80, 13: 316, 100: 2597, 10000: 262144} {
		if got := cpuShares(weight); got != want {
			t.Errorf("weight %d is %g shares, want %g", weight, got, want)
		}
	}
}

func TestFailcntIsTheCgroupsOwnLimit(t *testing.T) {
	c := fullContainer(1, "shop", "web-1", "app")
	c.Current.Set(cgroupfs.MemoryEventMax, 9)
	c.Current.Set(cgroupfs.MemoryLocalEventMax, 4)
	found := samples(t, text(t, NewCadvisorGatherer(storeOf(snapshot.Snapshot{Containers: []snapshot.Container{c}}), Selection{})))
	for prefix, want := range map[string]string{"container_memory_failcnt": "4", "container_memory_events_max_total": "9"} {
		for series, value := range only(found, prefix) {
			if value != want {
				t.Errorf("%s is %s, want %s", series, value, want)
			}
		}
	}
}
