// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// throttledFiles are those of a container with a CPU quota and a memory limit.
func throttledFiles() map[string]string {
	return map[string]string{
		"cpu.stat": "usage_usec 300\nuser_usec 100\nsystem_usec 200\nnr_periods 7\nnr_throttled 5\nthrottled_usec 2000000\n" +
			"nr_bursts 1\nburst_usec 30\n",
		"cpu.max": "20000 200000\n", "cpu.max.burst": "0\n", "cpu.weight": "4\n",
		"cpu.pressure":    "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
		"memory.current":  "1000\n",
		"memory.max":      "33554432\n",
		"memory.high":     "max\n",
		"memory.stat":     "anon 10\nfile 20\nkernel 30\nshmem 40\ninactive_file 300\npgmajfault 2\n",
		"memory.events":   "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n",
		"io.stat":         "254:0 rbytes=100 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n254:16 rbytes=5 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n",
		"pids.current":    "3\n",
		"pids.max":        "max\n",
		"memory.pressure": "",
	}
}

func TestContainerMeasures(t *testing.T) {
	want := Measures{
		"cpu_usage_seconds_total{mode=user}": 0.0001, "cpu_usage_seconds_total{mode=system}": 0.0002,
		"cpu_periods_total": 7, "cpu_throttled_periods_total": 5, "cpu_throttled_seconds_total": 2,
		"cpu_burst_periods_total": 1, "cpu_burst_seconds_total": 0.00003, "cpu_burst_limit_seconds": 0,
		"cpu_limit_cores": 0.1, "cpu_weight": 4,
		"cpu_pressure_seconds_total{kind=some}": 1.5, "cpu_pressure_seconds_total{kind=full}": 0.5,
		"memory_usage_bytes": 1000, "memory_working_set_bytes": 700, "memory_limit_bytes": 33554432,
		"memory_stat_bytes{type=anon}": 10, "memory_stat_bytes{type=file}": 20,
		"memory_stat_bytes{type=kernel}": 30, "memory_stat_bytes{type=shmem}": 40,
		"memory_major_faults_total":                                    2,
		"memory_events_total{event=high,scope=hierarchical}":           1,
		"memory_events_total{event=max,scope=hierarchical}":            2,
		"memory_events_total{event=oom,scope=hierarchical}":            3,
		"memory_events_total{event=oom_kill,scope=hierarchical}":       4,
		"memory_events_total{event=oom_group_kill,scope=hierarchical}": 5,
		"io_bytes_total{operation=read}":                               105,
		"io_bytes_total{operation=write}":                              11,
		"pids":                                                         3,
	}
	if diff := cmp.Diff(want, ContainerMeasures(throttledFiles())); diff != "" {
		t.Errorf("ContainerMeasures (-want +got):\n%s", diff)
	}
	unlimited := throttledFiles()
	unlimited["cpu.max"] = "max 100000\n"
	for key := range ContainerMeasures(unlimited) {
		if strings.Contains(key, "periods") || strings.Contains(key, "limit_cores") || strings.Contains(key, "burst") {
			t.Errorf("%s exists without a quota", key)
		}
	}
}

// Each of these has to be found, or the end-to-end test finds nothing.
func TestCompareFinds(t *testing.T) {
	nothing := func(string) bool { return false }
	tests := map[string]struct {
		before, after, exported Measures
		want                    string
	}{
		"equal":                  {Measures{"a": 1}, Measures{"a": 1}, Measures{"a": 1}, ""},
		"in between":             {Measures{"a": 1}, Measures{"a": 3}, Measures{"a": 2}, ""},
		"fallen":                 {Measures{"a": 3}, Measures{"a": 1}, Measures{"a": 2}, ""},
		"last digit":             {Measures{"a": 0.3}, Measures{"a": 0.3}, Measures{"a": 0.1 + 0.2}, ""},
		"too small":              {Measures{"a": 1}, Measures{"a": 3}, Measures{"a": 0}, "a is 0"},
		"too great":              {Measures{"a": 1}, Measures{"a": 3}, Measures{"a": 4}, "a is 4"},
		"absent":                 {Measures{"a": 0}, Measures{"a": 0}, Measures{}, "a is absent"},
		"not of the files":       {Measures{}, Measures{}, Measures{"a": 0}, "no such thing"},
		"not a number in a file": {Measures{"a": math.NaN()}, Measures{"a": math.NaN()}, Measures{"a": 0}, "a is 0"},
		"gone":                   {Measures{"a": 1}, Measures{}, Measures{}, ""},
		"split by some ticks":    {split(0.02, 0.03), split(0.02, 0.03), split(0.05, 0), ""},
		"split otherwise":        {split(0.5, 0.5), split(0.5, 0.5), split(0.2, 0.8), "mode=user} is 0.2"},
		"sum of the split":       {split(0.02, 0.03), split(0.02, 0.03), split(0.02, 0.0301), bothModes + " is 0.0501"},
		"come":                   {Measures{}, Measures{"a": 1}, Measures{"a": 1}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(Compare(test.before, test.after, test.exported, nothing), "\n")
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("Compare = %q, want it to say %q", got, test.want)
			}
		})
	}
}

// split is CPU time by mode.
func split(user, system float64) Measures {
	return Measures{Key("cpu_usage_seconds_total", "mode", "user"): user, Key("cpu_usage_seconds_total", "mode", "system"): system}
}

func TestExported(t *testing.T) {
	s, err := ParseScrape(strings.NewReader(`# TYPE slicewatch_container_pids gauge
slicewatch_container_pids{namespace="n",pod="p",container="c",qos="burstable"} 3
slicewatch_container_pids{namespace="n",pod="p",container="other",qos="burstable"} 4
# TYPE slicewatch_container_memory_events_total counter
slicewatch_container_memory_events_total{namespace="n",pod="p",container="c",qos="burstable",scope="local",event="oom"} 2
# TYPE slicewatch_pod_pids gauge
slicewatch_pod_pids{namespace="n",pod="p",qos="burstable"} 7
`))
	if err != nil {
		t.Fatal(err)
	}
	got := Exported(s, "slicewatch_container_", map[string]string{
		"namespace": "n", "pod": "p", "container": "c", "qos": "burstable",
	})
	want := Measures{"pids": 3, "memory_events_total{event=oom,scope=local}": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Exported (-want +got):\n%s", diff)
	}
}

func TestRunning(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	up := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	controlled := true
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "often-29921655-k55jk", UID: "u", OwnerReferences: []metav1.OwnerReference{
			{Kind: "Job", Name: "often-29921655", Controller: &controlled},
		}},
		Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "side", RestartPolicy: &always}, {Name: "setup"}}},
		Status: corev1.PodStatus{
			QOSClass: corev1.PodQOSBurstable,
			InitContainerStatuses: []corev1.ContainerStatus{
				{Name: "side", State: up, ContainerID: "containerd://1"}, {Name: "setup"},
			},
			ContainerStatuses:          []corev1.ContainerStatus{{Name: "main", State: up, ContainerID: "containerd://2"}},
			EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "look", State: up, ContainerID: "containerd://3"}},
		},
	}
	got := map[string]string{}
	for _, c := range Running([]corev1.Pod{pod}) {
		got[c.Name] = strings.Join([]string{c.Type, bareID(c.ID), c.QoS, c.WorkloadKind, c.Workload}, " ")
	}
	want := map[string]string{
		"side": "sidecar 1 burstable CronJob often", "main": "app 2 burstable CronJob often",
		"look": "ephemeral 3 burstable CronJob often",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Running (-want +got):\n%s", diff)
	}
}
