// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// nodeMemoryBytes is the MemTotal of the node that testdata was recorded on.
const nodeMemoryBytes = 3048780 << 10

// recordedPods returns the pods of a real node (kubelet 1.36.3), by name.
func recordedPods(t *testing.T) map[string]*corev1.Pod {
	t.Helper()
	text, err := os.ReadFile("../testdata/node.pods.json")
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.PodList
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods
}

// The expected values are those of the containers' main processes, read from
// /proc/<pid>/oom_score_adj of the same node.
func TestOOMScoreAdjOfARealNode(t *testing.T) {
	want := map[string]int64{
		"besteffort/main":              1000,
		"burstable-limits/main":        990,
		"burstable-multi/a":            999,
		"burstable-multi/b":            915,
		"burstable-multi/c":            999,
		"burstable-multi/side":         995,
		"burstable-requests-only/main": 829,
		"critical/main":                -997,
		"ds-bqgbz/main":                995,
		"guaranteed/main":              -997,
		"pod-level/main":               984,
	}
	got := map[string]int64{}
	for name, pod := range recordedPods(t) {
		for _, c := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
			adj, known := OOMScoreAdj(pod, &c, nodeMemoryBytes)
			if !known {
				t.Errorf("%s/%s: oom_score_adj unknown", name, c.Name)
			}
			got[name+"/"+c.Name] = adj
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("oom_score_adj (-kernel +computed):\n%s", diff)
	}
}

// The API server's admission computed the classes of these pods; without a
// status, ours must come to the same.
func TestQoSOfARealNode(t *testing.T) {
	for name, pod := range recordedPods(t) {
		want := pod.Status.QOSClass
		pod.Status = corev1.PodStatus{}
		if got := QoS(pod); got != want {
			t.Errorf("%s: QoS() = %s, the API server said %s", name, got, want)
		}
	}
}

const capacity = 1000 << 20 // 1 MiB is one step of oom_score_adj

type shape func(*corev1.Pod)

func podOf(shapes ...shape) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Status.QOSClass = corev1.PodQOSBurstable
	for _, s := range shapes {
		s(pod)
	}
	return pod
}

func memory(text string) corev1.ResourceRequirements {
	if text == "" {
		return corev1.ResourceRequirements{}
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(text)}}
}

func app(name, request string) shape {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Resources: memory(request)})
	}
}

func initContainer(name, request string) shape {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Resources: memory(request)})
	}
}

func sidecar(name, request string) shape {
	always := corev1.ContainerRestartPolicyAlways
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers,
			corev1.Container{Name: name, Resources: memory(request), RestartPolicy: &always})
	}
}

func podLevel(request string) shape {
	own := memory(request)
	return func(p *corev1.Pod) { p.Spec.Resources = &own }
}

func priority(class string, value int32) shape {
	return func(p *corev1.Pod) { p.Spec.PriorityClassName, p.Spec.Priority = class, &value }
}

func annotation(key, value string) shape {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
}

func class(c corev1.PodQOSClass) shape {
	return func(p *corev1.Pod) { p.Status.QOSClass = c }
}

func allocated(container, request string) shape {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container, AllocatedResources: memory(request).Requests,
		})
	}
}

func TestOOMScoreAdj(t *testing.T) {
	ephemeral := corev1.Container{Name: "debug"}
	tests := []struct {
		name     string
		pod      *corev1.Pod
		c        string // empty: an ephemeral container
		capacity int64
		want     int64
		unknown  bool
	}{
		{name: "a tenth of the node", pod: podOf(app("a", "100Mi")), c: "a", want: 900},
		{name: "no request of its own", pod: podOf(app("a", "100Mi"), app("b", "")), c: "b", want: 999},
		{name: "the whole node", pod: podOf(app("a", "1000Mi")), c: "a", want: 3},
		{name: "almost the whole node", pod: podOf(app("a", "999Mi")), c: "a", want: 3},
		{name: "more than can be multiplied", pod: podOf(app("a", "8Ei")), c: "a", want: 3},
		{name: "guaranteed", pod: podOf(class(corev1.PodQOSGuaranteed), app("a", "10Mi")), c: "a", want: -997},
		{name: "best effort", pod: podOf(class(corev1.PodQOSBestEffort), app("a", "")), c: "a", want: 1000},
		{name: "node critical", pod: podOf(priority("system-node-critical", 2000001000), app("a", "10Mi")), c: "a", want: -997},
		{name: "cluster critical is not node critical", pod: podOf(priority("system-cluster-critical", 2000000000), app("a", "10Mi")), c: "a", want: 990},
		{name: "the class's name without its priority", pod: podOf(priority("system-node-critical", 0), app("a", "10Mi")), c: "a", want: 990},
		{name: "static pod with the class", pod: podOf(annotation(MirrorAnnotation, "x"), priority("system-node-critical", 0), app("a", "10Mi")), c: "a", want: -997},
		{name: "static pod without the class", pod: podOf(annotation(MirrorAnnotation, "x"), app("a", "10Mi")), c: "a", want: 990},
		{name: "a source that anyone may write", pod: podOf(annotation("kubernetes.io/config.source", "file"), priority("system-node-critical", 0), app("a", "10Mi")), c: "a", want: 990},
		{name: "sidecar gets the smallest app's request", pod: podOf(sidecar("s", "10Mi"), app("a", "200Mi"), app("b", "100Mi")), c: "s", want: 900},
		{name: "sidecar keeps its own if larger", pod: podOf(sidecar("s", "300Mi"), app("a", "200Mi")), c: "s", want: 700},
		{name: "init container is no sidecar", pod: podOf(initContainer("i", "10Mi"), app("a", "200Mi")), c: "i", want: 990},
		{name: "pod-level request alone", pod: podOf(podLevel("200Mi"), app("a", ""), app("b", "")), c: "a", want: 900},
		{name: "pod-level rest is shared", pod: podOf(podLevel("400Mi"), app("a", "100Mi"), app("b", "")), c: "a", want: 750},
		{name: "init containers share, too", pod: podOf(podLevel("400Mi"), initContainer("i", ""), app("a", "")), c: "a", want: 800},
		{name: "ephemeral container gets a share", pod: podOf(podLevel("200Mi"), app("a", ""), app("b", "")), want: 900},
		{name: "sidecar of a pod-level request", pod: podOf(podLevel("400Mi"), sidecar("s", ""), app("a", "200Mi")), c: "s", want: 700},
		{name: "a large init container is claimed memory", pod: podOf(podLevel("400Mi"), initContainer("i", "300Mi"), app("a", "100Mi")), c: "a", want: 850},
		{name: "pod-level CPU alone changes nothing", pod: podOf(podLevel(""), app("a", "100Mi")), c: "a", want: 900},
		{name: "allocated before wanted", pod: podOf(app("a", "500Mi"), allocated("a", "100Mi")), c: "a", want: 900},
		{name: "no app containers at all", pod: podOf(podLevel("10Mi"), sidecar("s", "")), c: "s", want: 990},
		{name: "unknown capacity", pod: podOf(app("a", "100Mi")), c: "a", capacity: -1, unknown: true},
		{name: "unknown capacity does not matter", pod: podOf(class(corev1.PodQOSGuaranteed), app("a", "")), c: "a", capacity: -1, want: -997},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &ephemeral
			for i := range tt.pod.Spec.Containers {
				if tt.pod.Spec.Containers[i].Name == tt.c {
					c = &tt.pod.Spec.Containers[i]
				}
			}
			for i := range tt.pod.Spec.InitContainers {
				if tt.pod.Spec.InitContainers[i].Name == tt.c {
					c = &tt.pod.Spec.InitContainers[i]
				}
			}
			if tt.capacity == 0 {
				tt.capacity = capacity
			}
			got, known := OOMScoreAdj(tt.pod, c, tt.capacity)
			if got != tt.want || known == tt.unknown {
				t.Errorf("OOMScoreAdj() = %d, %v, want %d, %v", got, known, tt.want, !tt.unknown)
			}
		})
	}
}

// list has what is not empty.
func list(cpu, memory string) corev1.ResourceList {
	all := corev1.ResourceList{}
	if cpu != "" {
		all[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		all[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return all
}

func TestQoSOfAPodWithoutStatus(t *testing.T) {
	same := corev1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("1000m", "1024Mi")}
	limitsOnly := corev1.ResourceRequirements{Limits: list("1", "1Gi")}
	zero := corev1.ResourceRequirements{Requests: list("0", "0")}
	storage := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}}
	tests := []struct {
		name     string
		pod      *corev1.ResourceRequirements
		apps     []corev1.ResourceRequirements
		inits    []corev1.ResourceRequirements
		wantsQoS corev1.PodQOSClass
	}{
		{name: "nothing", apps: make([]corev1.ResourceRequirements, 1), wantsQoS: corev1.PodQOSBestEffort},
		{name: "no containers", wantsQoS: corev1.PodQOSBestEffort},
		{name: "zeroes", apps: []corev1.ResourceRequirements{zero}, wantsQoS: corev1.PodQOSBestEffort},
		{name: "other resources do not count", apps: []corev1.ResourceRequirements{storage}, wantsQoS: corev1.PodQOSBestEffort},
		{name: "equal", apps: []corev1.ResourceRequirements{same}, wantsQoS: corev1.PodQOSGuaranteed},
		{name: "one container without", apps: []corev1.ResourceRequirements{same, {}}, wantsQoS: corev1.PodQOSBurstable},
		{name: "one init container without", apps: []corev1.ResourceRequirements{same}, inits: make([]corev1.ResourceRequirements, 1), wantsQoS: corev1.PodQOSBurstable},
		{name: "memory only", apps: []corev1.ResourceRequirements{{Requests: list("", "1Gi"), Limits: list("", "1Gi")}}, wantsQoS: corev1.PodQOSBurstable},
		{name: "limits before defaulting", apps: []corev1.ResourceRequirements{limitsOnly}, wantsQoS: corev1.PodQOSBurstable},
		{name: "pod level decides", pod: &same, apps: []corev1.ResourceRequirements{{Requests: list("1m", "")}}, wantsQoS: corev1.PodQOSGuaranteed},
		{name: "pod level requests only", pod: &corev1.ResourceRequirements{Requests: list("1", "1Gi")}, apps: []corev1.ResourceRequirements{same}, wantsQoS: corev1.PodQOSBurstable},
		{name: "empty pod level", pod: &corev1.ResourceRequirements{}, apps: []corev1.ResourceRequirements{same}, wantsQoS: corev1.PodQOSGuaranteed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.Spec.Resources = tt.pod
			for _, r := range tt.apps {
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Resources: r})
			}
			for _, r := range tt.inits {
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Resources: r})
			}
			if got := QoS(pod); got != tt.wantsQoS {
				t.Errorf("QoS() = %s, want %s", got, tt.wantsQoS)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	c := &corev1.Container{Resources: corev1.ResourceRequirements{Requests: list("300m", "300Mi")}}
	known := func(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }
	tests := []struct {
		name        string
		c           *corev1.Container
		status      *corev1.ContainerStatus
		cpu, memory snapshot.Amount
	}{
		{name: "no status: as wanted", c: c, cpu: known(300), memory: known(300 << 20)},
		{name: "resize agreed, not applied",
			c: c, status: &corev1.ContainerStatus{
				AllocatedResources: list("200m", "200Mi"),
				Resources:          &corev1.ResourceRequirements{Requests: list("100m", "100Mi")},
			}, cpu: known(100), memory: known(100 << 20)},
		{name: "agreed only", c: c, status: &corev1.ContainerStatus{AllocatedResources: list("200m", "200Mi")},
			cpu: known(200), memory: known(200 << 20)},
		{name: "a resize that adds a request, not agreed", c: c, status: &corev1.ContainerStatus{
			Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1.5")}},
		}, cpu: known(1500)},
		{name: "a resize that adds the first requests, not agreed", c: c, status: &corev1.ContainerStatus{
			Resources: &corev1.ResourceRequirements{},
		}},
		{name: "each resource by itself", c: c, status: &corev1.ContainerStatus{
			AllocatedResources: list("200m", "200Mi"),
			Resources:          &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1.5")}},
		}, cpu: known(1500), memory: known(200 << 20)},
		{name: "no request at all", c: &corev1.Container{}, status: &corev1.ContainerStatus{}},
		{name: "a request of nothing", c: &corev1.Container{Resources: corev1.ResourceRequirements{Requests: list("0", "0")}},
			cpu: known(0), memory: known(0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cpu, memory := Requests(tt.c, tt.status)
			if cpu != tt.cpu || memory != tt.memory {
				t.Errorf("Requests() = %v, %v, want %v, %v", cpu, memory, tt.cpu, tt.memory)
			}
		})
	}
}

// What a pod itself requests is the pod's, as it runs now; sums over containers in
// its status are not.
func TestPodRequests(t *testing.T) {
	known := func(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }
	requests := func(l corev1.ResourceList) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Requests: l}
	}
	for name, c := range map[string]struct {
		pod         corev1.Pod
		cpu, memory snapshot.Amount
	}{
		"none":        {corev1.Pod{Status: corev1.PodStatus{AllocatedResources: list("1", "1Gi"), Resources: requests(list("1", "1Gi"))}}, snapshot.Amount{}, snapshot.Amount{}},
		"limits only": {corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: list("1", "1Gi")}}}, snapshot.Amount{}, snapshot.Amount{}},
		"wanted":      {corev1.Pod{Spec: corev1.PodSpec{Resources: requests(list("1500m", "3Ki"))}}, known(1500), known(3072)},
		"one of them": {corev1.Pod{
			Spec:   corev1.PodSpec{Resources: requests(list("", "3Ki"))},
			Status: corev1.PodStatus{AllocatedResources: list("1", "2Ki")},
		}, snapshot.Amount{}, known(2048)},
		"applied": {corev1.Pod{
			Spec:   corev1.PodSpec{Resources: requests(list("3", "3Ki"))},
			Status: corev1.PodStatus{AllocatedResources: list("2", "2Ki"), Resources: requests(list("1", "1Ki"))},
		}, known(1000), known(1024)},
	} {
		if cpu, memory := PodRequests(&c.pod); cpu != c.cpu || memory != c.memory {
			t.Errorf("%s: %+v and %+v, want %+v and %+v", name, cpu, memory, c.cpu, c.memory)
		}
	}
}
