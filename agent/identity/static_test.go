// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"

	"github.com/slicewatch/slicewatch/agent/identity/pods"
)

// mirror is a pod that says that its cgroup is that of the hash "u".
func mirror(uid, namespace, name string) pods.Pod {
	pod := apiPod(uid, name, apiContainer("main", ""))
	pod.CgroupUID, pod.Namespace = "u", namespace
	return pod
}

// Who may create pods may give one the annotation of a mirror pod, until the
// kubelet deletes it. That must not give the static pod's series other names.
func TestForgedMirrorPod(t *testing.T) {
	genuine, forged := mirror("api-uid", "shop", "etcd-node-a"), mirror("liar", "evil", "x")
	ended := genuine
	ended.Ended = true
	runtime := criContainer("u", "etcd-node-a", "main", id("a"))
	tests := []struct {
		name      string
		do        func(api podSink, cri containerSink)
		pod       string
		container string // empty if unknown
	}{
		{"comes later", func(api podSink, _ containerSink) {
			api.SetPod(genuine)
			api.SetPod(forged)
			api.SetPod(forged)
		}, "shop/etcd-node-a", ""},
		{"the genuine one changes", func(api podSink, _ containerSink) {
			api.SetPod(genuine)
			api.SetPod(forged)
			api.SetPod(genuine)
			api.SetPod(forged)
		}, "shop/etcd-node-a", ""},
		{"comes first, and is deleted", func(api podSink, _ containerSink) {
			api.SetPod(forged)
			api.SetPod(genuine)
			api.DeletePod("liar")
		}, "shop/etcd-node-a", ""},
		{"comes first, containerd knows better", func(api podSink, cri containerSink) {
			api.SetPod(forged)
			cri.SetContainer(runtime)
			api.SetPod(genuine)
		}, "shop/etcd-node-a", "shop/etcd-node-a/main/db"},
		{"comes alone, containerd knows better", func(api podSink, cri containerSink) {
			api.SetPod(forged)
			cri.SetContainer(runtime)
		}, "shop/etcd-node-a", "shop/etcd-node-a/main/"},
		{"comes after containerd", func(api podSink, cri containerSink) {
			cri.SetContainer(runtime)
			api.SetPod(forged)
		}, "shop/etcd-node-a", "shop/etcd-node-a/main/"},
		{"comes after the end of the genuine one, containerd knows better", func(api podSink, cri containerSink) {
			cri.SetContainer(runtime)
			api.SetPod(genuine)
			api.SetPod(ended)
			api.SetPod(forged)
		}, "shop/etcd-node-a", "shop/etcd-node-a/main/db"},
		{"the mirror pod is made anew", func(api podSink, _ containerSink) {
			api.SetPod(forged)
			api.DeletePod("liar")
			api.SetPod(mirror("api-uid-2", "shop", "etcd-node-a"))
		}, "shop/etcd-node-a", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := resolver(t)
			container, pod := containerCgroup("u", id("a")), podCgroup("u")
			r.Container(container)
			r.Pod(pod)
			tt.do(podSink{r}, containerSink{r})
			if got := r.Pod(pod); got.Namespace+"/"+got.Name != tt.pod {
				t.Errorf("Pod() = %s/%s, want %s", got.Namespace, got.Name, tt.pod)
			}
			got, names := r.Container(container), ""
			if got.Known {
				names = got.Namespace + "/" + got.Pod + "/" + got.Name + "/" + got.Workload
			}
			if names != tt.container {
				t.Errorf("Container() = %q, want %q", names, tt.container)
			}
			for _, uid := range []string{"liar", "api-uid", "api-uid-2"} {
				podSink{r}.DeletePod(uid)
			}
			expireAll(r)
			if len(r.facts.static)+len(r.facts.pods) != 0 {
				t.Errorf("%d hashes and %d pods are kept", len(r.facts.static), len(r.facts.pods))
			}
		})
	}
}
