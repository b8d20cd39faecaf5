// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// nodeMemoryBytes is the MemTotal of the node that testdata was recorded on.
const nodeMemoryBytes = 3048780 << 10

func recordedPods(t *testing.T) []corev1.Pod {
	t.Helper()
	text, err := os.ReadFile("../testdata/node.pods.json")
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.PodList
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func stripped(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	obj, err := strip(pod)
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*corev1.Pod)
}

func TestStripKeepsTheFactsAndNothingElse(t *testing.T) {
	for _, pod := range recordedPods(t) {
		before, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		once := stripped(t, &pod)
		if diff := cmp.Diff(factsOf(&pod, nodeMemoryBytes), factsOf(once, nodeMemoryBytes)); diff != "" {
			t.Errorf("%s: facts (-whole pod +stripped):\n%s", pod.Name, diff)
		}
		if diff := cmp.Diff(once, stripped(t, once)); diff != "" {
			t.Errorf("%s: stripped twice (-once +twice):\n%s", pod.Name, diff)
		}
		after, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		if len(after) > len(before)/2 {
			t.Errorf("%s: %d bytes of JSON became %d, want at most half", pod.Name, len(before), len(after))
		}
		for _, unwanted := range []string{"last-applied", "sleep", "tolerations", "podIP", "serviceAccount"} {
			if strings.Contains(string(after), unwanted) {
				t.Errorf("%s: %q is kept", pod.Name, unwanted)
			}
		}
	}
}

func TestStripPassesTombstones(t *testing.T) {
	gone := cache.DeletedFinalStateUnknown{Key: "default/p"}
	if obj, err := strip(gone); err != nil || obj != any(gone) {
		t.Errorf("strip(%v) = %v, %v", gone, obj, err)
	}
	if _, err := strip("text"); err == nil {
		t.Error("strip of something that is no pod: no error")
	}
}

func TestFactsOfARealPod(t *testing.T) {
	known := func(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }
	for _, pod := range recordedPods(t) {
		if pod.Name != "burstable-multi" {
			continue
		}
		const image = "lab.local/busybox:1"
		want := Pod{
			UID: "dba19675-759a-4467-b827-bf3ea8aec3d8", CgroupUID: "dba19675-759a-4467-b827-bf3ea8aec3d8",
			Namespace: "default", Name: "burstable-multi", WorkloadKind: "Pod", Workload: "burstable-multi",
			Containers: []Container{
				{Name: "a", Type: snapshot.AppContainer, ID: "2c322cc33554004a74c8b8a2c767c37ccc58f73d8c87b8060d0dc1be1ca3a963", Runtime: "containerd",
					Image: image, CPURequestMillis: known(20), MemoryRequestBytes: known(4 << 20), OOMScoreAdj: known(999)},
				{Name: "b", Type: snapshot.AppContainer, ID: "4c1f94a3726539f3ef400d01c2801f8a8876fc607ae76c603cf8eb4544ca25c8", Runtime: "containerd",
					Image: image, CPURequestMillis: known(30), MemoryRequestBytes: known(256 << 20), OOMScoreAdj: known(915)},
				{Name: "c", Type: snapshot.AppContainer, ID: "1b2604df8ffda543a47c350f3a268a0727016df4d08d89c9108fb0fbad75b909", Runtime: "containerd",
					Image: image, OOMScoreAdj: known(999)},
				{Name: "side", Type: snapshot.SidecarContainer, ID: "4a37a133270256870696e472d64f41c9b02d6cd525875bab01f4bc11a26cb6ea", Runtime: "containerd",
					Image: image, CPURequestMillis: known(10), MemoryRequestBytes: known(16 << 20), OOMScoreAdj: known(995)},
			},
		}
		if diff := cmp.Diff(want, factsOf(&pod, nodeMemoryBytes)); diff != "" {
			t.Errorf("facts (-want +got):\n%s", diff)
		}
		return
	}
	t.Fatal("the pod is not in the recorded list")
}

func TestFactsOf(t *testing.T) {
	base := func(change func(*corev1.Pod)) *corev1.Pod {
		pod := &corev1.Pod{}
		pod.Namespace, pod.Name, pod.UID = "ns", "p", types.UID("uid")
		pod.Spec.NodeName = "node-a"
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "img:1"}}
		change(pod)
		return pod
	}
	want := func(change func(*Pod)) Pod {
		facts := Pod{
			UID: "uid", CgroupUID: "uid", Namespace: "ns", Name: "p", WorkloadKind: "Pod", Workload: "p",
			Containers: []Container{{Name: "main", Type: snapshot.AppContainer, Image: "img:1",
				OOMScoreAdj: snapshot.Amount{N: 1000, Known: true}}},
		}
		change(&facts)
		return facts
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want Pod
	}{
		{"without a status", base(func(*corev1.Pod) {}), want(func(*Pod) {})},
		{"mirror pod of a static pod", base(func(p *corev1.Pod) {
			p.Name = "etcd-node-a"
			p.Annotations = map[string]string{
				"kubernetes.io/config.mirror": "0123456789abcdef0123456789abcdef",
				"kubernetes.io/config.hash":   "0123456789abcdef0123456789abcdef",
			}
		}), want(func(f *Pod) {
			f.Name, f.CgroupUID, f.WorkloadKind, f.Workload = "etcd-node-a", "0123456789abcdef0123456789abcdef", "StaticPod", "etcd"
		})},
		{"a hash that anyone may write", base(func(p *corev1.Pod) {
			p.Annotations = map[string]string{
				"kubernetes.io/config.hash": "another-pods-uid", "kubernetes.io/config.source": "file",
			}
		}), want(func(*Pod) {})},
		{"policy, class, end", base(func(p *corev1.Pod) {
			p.Annotations = map[string]string{PolicyAnnotation: "guaranteed"}
			p.Spec.PriorityClassName = "high"
			p.Status.Phase = corev1.PodFailed
		}), want(func(f *Pod) { f.Policy, f.PriorityClass, f.Ended = "guaranteed", "high", true })},
		{"a policy that is no policy", base(func(p *corev1.Pod) {
			p.Annotations = map[string]string{PolicyAnnotation: strings.Repeat("x", 262144)}
		}), want(func(*Pod) {})},
		{"restarted, image without a tag", base(func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "cri-o://new", Image: "sha256:0f",
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "cri-o://old"}}}}
		}), want(func(f *Pod) {
			f.Containers[0].ID, f.Containers[0].PreviousID, f.Containers[0].Runtime = "new", "old", "cri-o"
		})},
		{"init and ephemeral", base(func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "i"}}
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d"}}}
			p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", ContainerID: "containerd://dd", Image: "docker.io/d:1"}}
		}), want(func(f *Pod) {
			adj := f.Containers[0].OOMScoreAdj
			f.Containers = append(f.Containers,
				Container{Name: "first", Type: snapshot.InitContainer, Image: "i", OOMScoreAdj: adj},
				Container{Name: "debug", Type: snapshot.EphemeralContainer, ID: "dd", Runtime: "containerd", Image: "docker.io/d:1", OOMScoreAdj: adj})
		})},
		{"resized in place", base(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
			p.Status.QOSClass = corev1.PodQOSBurstable
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Resources: &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}
		}), want(func(f *Pod) {
			f.Containers[0].CPURequestMillis = snapshot.Amount{N: 1000, Known: true}
			f.Containers[0].OOMScoreAdj.N = 999
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, factsOf(stripped(t, tt.pod), nodeMemoryBytes)); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}
