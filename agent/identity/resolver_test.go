// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver returns one without sources; tests play them through its sinks.
func resolver(t testing.TB) *Resolver {
	t.Helper()
	r, err := New(Config{Kubernetes: Off, Containerd: Off, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func id(digit string) string { return strings.Repeat(digit, 64) }

func containerCgroup(podUID, id string) *cgroupfs.Cgroup {
	return &cgroupfs.Cgroup{Level: cgroupfs.LevelContainer, PodUID: podUID, ContainerID: id}
}

func podCgroup(podUID string) *cgroupfs.Cgroup {
	return &cgroupfs.Cgroup{Level: cgroupfs.LevelPod, PodUID: podUID}
}

func apiPod(uid, name string, containers ...pods.Container) pods.Pod {
	return pods.Pod{UID: uid, CgroupUID: uid, Namespace: "shop", Name: name,
		WorkloadKind: "StatefulSet", Workload: "db", PriorityClass: "high", Policy: "burstable", Containers: containers}
}

func apiContainer(name, id string) pods.Container {
	return pods.Container{Name: name, ID: id, Type: snapshot.AppContainer, Image: "spec:1",
		CPURequestMillis: snapshot.Amount{N: 100, Known: true}, OOMScoreAdj: snapshot.Amount{N: 999, Known: true}}
}

func criContainer(uid, pod, name, id string) containers.Container {
	return containers.Container{ID: id, Namespace: "shop", Pod: pod, PodUID: uid, Name: name, Image: "cri:1"}
}

func criSandbox(uid, pod, id string) containers.Container {
	return containers.Container{ID: id, Sandbox: true, Namespace: "shop", Pod: pod, PodUID: uid, Image: "pause:1"}
}

// full is the identity of apiContainer("main", id("a")) of apiPod("u", "db-0").
func full(change func(*snapshot.ContainerIdentity)) snapshot.ContainerIdentity {
	identity := snapshot.ContainerIdentity{
		Namespace: "shop", Pod: "db-0", Name: "main", PodUID: "u", Known: true, Image: "spec:1", Type: snapshot.AppContainer,
		WorkloadKind: "StatefulSet", Workload: "db", PriorityClass: "high", Policy: "burstable",
		CPURequestMillis:    snapshot.Amount{N: 100, Known: true},
		OOMScoreAdjExpected: snapshot.Amount{N: 999, Known: true},
	}
	change(&identity)
	return identity
}

func TestJoin(t *testing.T) {
	unknown := snapshot.ContainerIdentity{Pod: "u", PodUID: "u", Name: id("a")[:12]}
	static := apiPod("api-uid", "etcd-node-a", apiContainer("main", id("a")))
	static.CgroupUID = "u"
	tests := []struct {
		name    string
		api     []pods.Pod
		runtime []containers.Container
		want    snapshot.ContainerIdentity
		sandbox string // as "sandbox, known"
		pod     snapshot.PodIdentity
	}{
		{name: "nobody knows", want: unknown, sandbox: "false, false", pod: snapshot.PodIdentity{Name: "u", UID: "u"}},
		{name: "the API alone", api: []pods.Pod{apiPod("u", "db-0", apiContainer("main", id("a")))},
			want: full(func(*snapshot.ContainerIdentity) {}), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "the API knows the pod, not yet the container", api: []pods.Pod{apiPod("u", "db-0", apiContainer("main", ""))},
			want: unknown, sandbox: "false, false",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "containerd alone", runtime: []containers.Container{criContainer("u", "db-0", "main", id("a"))},
			want: snapshot.ContainerIdentity{Namespace: "shop", Pod: "db-0", PodUID: "u", Name: "main", Image: "cri:1", Runtime: "containerd", Known: true}, sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "a sandbox by containerd", runtime: []containers.Container{criSandbox("u", "db-0", id("a"))},
			want: snapshot.ContainerIdentity{Namespace: "shop", Pod: "db-0", PodUID: "u", Image: "pause:1", Runtime: "containerd", Known: true}, sandbox: "true, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "both, before the status has the id", api: []pods.Pod{apiPod("u", "db-0", apiContainer("main", ""))},
			runtime: []containers.Container{criContainer("u", "db-0", "main", id("a"))},
			want:    full(func(i *snapshot.ContainerIdentity) { i.Image, i.Runtime = "cri:1", "containerd" }), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "the incarnation before", api: []pods.Pod{apiPod("u", "db-0", pods.Container{Name: "main", ID: id("b"), PreviousID: id("a")})},
			want: full(func(i *snapshot.ContainerIdentity) {
				i.Image, i.Type = "", ""
				i.CPURequestMillis, i.OOMScoreAdjExpected = snapshot.Amount{}, snapshot.Amount{}
			}), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "static pod: the path has the manifest's hash", api: []pods.Pod{static},
			runtime: []containers.Container{criContainer("u", "etcd-node-a", "main", id("a"))},
			want: full(func(i *snapshot.ContainerIdentity) {
				i.Pod, i.PodUID, i.Image, i.Runtime = "etcd-node-a", "api-uid", "cri:1", "containerd"
			}), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "etcd-node-a", UID: "api-uid", Known: true}},
		{name: "a pod that pretends to be a static one",
			api:  []pods.Pod{apiPod("u", "db-0", apiContainer("main", id("a"))), {UID: "liar", CgroupUID: "u", Namespace: "evil", Name: "x"}},
			want: full(func(*snapshot.ContainerIdentity) {}), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
		{name: "an image without a name", api: []pods.Pod{apiPod("u", "db-0", apiContainer("main", id("a")))},
			runtime: []containers.Container{{ID: id("a"), Namespace: "shop", Pod: "db-0", PodUID: "u", Name: "main", Image: "sha256:0f"}},
			want:    full(func(i *snapshot.ContainerIdentity) { i.Runtime = "containerd" }), sandbox: "false, true",
			pod: snapshot.PodIdentity{Namespace: "shop", Name: "db-0", UID: "u", Known: true}},
	}
	for _, tt := range tests {
		for _, order := range []string{"facts first", "cgroups first"} {
			t.Run(tt.name+"/"+order, func(t *testing.T) {
				r := resolver(t)
				container, pod := containerCgroup("u", id("a")), podCgroup("u")
				if order == "cgroups first" {
					r.Container(container)
					r.Pod(pod)
				}
				for _, p := range tt.api {
					podSink{r}.SetPod(p)
				}
				for _, c := range tt.runtime {
					containerSink{r}.SetContainer(c)
				}
				if diff := cmp.Diff(tt.want, *r.Container(container)); diff != "" {
					t.Errorf("Container() (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.pod, *r.Pod(pod)); diff != "" {
					t.Errorf("Pod() (-want +got):\n%s", diff)
				}
				sandbox, known := r.Sandbox(container)
				if got := fmt.Sprintf("%v, %v", sandbox, known); got != tt.sandbox {
					t.Errorf("Sandbox() = %s, want %s", got, tt.sandbox)
				}
			})
		}
	}
}

func changed(r *Resolver) bool {
	select {
	case <-r.Changes():
		return true
	default:
		return false
	}
}

// The sampler compares pointers: they must change exactly when something did.
func TestPointersStay(t *testing.T) {
	r := resolver(t)
	c, p := containerCgroup("u", id("a")), podCgroup("u")
	container, pod := r.Container(c), r.Pod(p)
	pods := podSink{r}
	pods.SetPod(apiPod("other", "web"))
	if changed(r) || r.Container(c) != container || r.Pod(p) != pod {
		t.Error("another pod changed something")
	}
	pods.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	if !changed(r) || r.Container(c) == container || r.Pod(p) == pod {
		t.Error("names that came did not change the pointers")
	}
	container, pod = r.Container(c), r.Pod(p)
	pods.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	if changed(r) || r.Container(c) != container || r.Pod(p) != pod {
		t.Error("the same facts once more changed something")
	}
	resized := apiContainer("main", id("a"))
	resized.CPURequestMillis.N = 200
	pods.SetPod(apiPod("u", "db-0", resized))
	if !changed(r) || r.Container(c) == container || r.Container(c).CPURequestMillis.N != 200 {
		t.Error("a resize did not change the container")
	}
	if r.Pod(p) != pod {
		t.Error("a resize changed the pod")
	}
	if container.CPURequestMillis.N != 100 {
		t.Error("an identity that was handed out was written to")
	}
}

// What ended keeps its identity, and gives it to nobody.
func TestNamesDoNotLeak(t *testing.T) {
	r := resolver(t)
	api, cri := podSink{r}, containerSink{r}
	old, oldPod := containerCgroup("u", id("a")), podCgroup("u")
	r.Container(old)
	r.Pod(oldPod)
	api.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	cri.SetContainer(criContainer("u", "db-0", "main", id("a")))
	wasContainer, wasPod := r.Container(old), r.Pod(oldPod)

	cri.DeleteContainer(id("a"))
	api.DeletePod("u")
	expireAll(r)
	next, nextPod := containerCgroup("u2", id("b")), podCgroup("u2")
	if r.Container(next).Known || r.Pod(nextPod).Known {
		t.Error("the next pod is known before anybody said so")
	}
	api.SetPod(apiPod("u2", "db-0", apiContainer("main", id("b"))))
	if got := r.Container(next); got.PodUID != "u2" || got.Name != "main" {
		t.Errorf("the next pod's container is %+v", got)
	}
	if r.Container(old) != wasContainer || r.Pod(oldPod) != wasPod {
		t.Error("the ended container or pod changed")
	}
}

// The API never says more than the spec of an ended container's successor.
func TestRuntimeFactsOfTheEndedStay(t *testing.T) {
	r := resolver(t)
	api, cri := podSink{r}, containerSink{r}
	c := containerCgroup("u", id("a"))
	r.Container(c)
	cri.SetContainer(criContainer("u", "db-0", "main", id("a")))
	api.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	was := r.Container(c)
	cri.DeleteContainer(id("a"))
	expireAll(r)
	next := apiContainer("main", id("b"))
	next.PreviousID = id("a")
	api.SetPod(apiPod("u", "db-0", next))
	if got := r.Container(c); got != was {
		t.Errorf("the ended container changed from %+v to %+v", was, got)
	}
	if got := cri.Connected(); got != nil {
		t.Errorf("wanted although known: %v", got)
	}
}

// A container that lives for less than a sweep is asked for after its end.
func TestAskedForAfterTheEnd(t *testing.T) {
	r := resolver(t)
	api, cri := podSink{r}, containerSink{r}
	api.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	cri.SetContainer(criContainer("u", "db-0", "main", id("a")))
	cri.DeleteContainer(id("a"))
	api.DeletePod("u")
	if got := r.Container(containerCgroup("u", id("a"))); got.Name != "main" || got.Workload != "db" {
		t.Errorf("asked for after its end: %+v", got)
	}
	expireAll(r)
	if got := r.Container(containerCgroup("u", id("c"))); got.Known {
		t.Errorf("known long after its end: %+v", got)
	}
}

func TestForget(t *testing.T) {
	r := resolver(t)
	a, b, p := containerCgroup("u", id("a")), containerCgroup("u", id("b")), podCgroup("u")
	r.Container(a)
	r.Container(b)
	r.Pod(p)
	podSink{r}.SetPod(apiPod("u", "db-0", apiContainer("main", id("a")), apiContainer("side", id("b"))))
	r.Forget(p)
	r.Forget(a)
	r.Forget(a)
	r.Forget(containerCgroup("never", id("c")))
	r.Forget(podCgroup("never"))
	if got := r.Container(b); got.Name != "side" {
		t.Errorf("what was not forgotten: %+v", got)
	}
	r.Forget(b)
	if len(r.entries)+len(r.podEntries) != 0 {
		t.Errorf("%d containers and %d pods are kept", len(r.entries), len(r.podEntries))
	}
	if got := r.Container(a); got.Name != "main" {
		t.Errorf("forgotten and asked for again: %+v", got)
	}
}

func TestConnected(t *testing.T) {
	r := resolver(t)
	cri := containerSink{r}
	r.Container(containerCgroup("u", id("a")))
	r.Container(containerCgroup("u", id("b")))
	cri.SetContainer(criContainer("u", "db-0", "main", id("b")))
	cri.SetContainer(criContainer("u", "db-0", "main", id("c")))
	if diff := cmp.Diff([]string{id("a")}, cri.Connected()); diff != "" {
		t.Errorf("wanted (-want +got):\n%s", diff)
	}
	if r.facts.containers[id("b")] == nil || r.facts.containers[id("c")] != nil {
		t.Error("want the facts that a cgroup asked for to be kept, and no others")
	}
}

func TestNoAllocations(t *testing.T) {
	r := resolver(t)
	c, p := containerCgroup("u", id("a")), podCgroup("u")
	podSink{r}.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	got := testing.AllocsPerRun(100, func() {
		r.Container(c)
		r.Sandbox(c)
		r.Pod(p)
		r.Sources()
	})
	if got != 0 {
		t.Errorf("%v allocations per cgroup and sweep, want 0", got)
	}
}

func BenchmarkContainer(b *testing.B) {
	r := resolver(b)
	c := containerCgroup("u", id("a"))
	podSink{r}.SetPod(apiPod("u", "db-0", apiContainer("main", id("a"))))
	b.ReportAllocs()
	for b.Loop() {
		r.Container(c)
	}
}
