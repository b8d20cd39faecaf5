// SPDX-License-Identifier: Apache-2.0

// Package kustomize has the tests of the manifests beside it: what they may
// never ask for, whatever else changes. It must not know how they are built or
// applied; test/kubernetes does that.
package kustomize

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
)

// read parses the document of the given kind strictly: a field that the API
// does not have is an error.
func read(t *testing.T, path, kind string, into runtime.Object) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		if !bytes.Contains(document, []byte("\nkind: "+kind+"\n")) {
			continue
		}
		strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
			json.SerializerOptions{Yaml: true, Strict: true})
		if _, _, err := strict.Decode(document, nil, into); err != nil {
			t.Fatalf("%s of %s: %v", kind, path, err)
		}
		return
	}
	t.Fatalf("%s has no %s", path, kind)
}

func TestAgentIsNotPrivileged(t *testing.T) {
	var set appsv1.DaemonSet
	read(t, "base/daemonset.yaml", "DaemonSet", &set)
	pod := set.Spec.Template.Spec
	if len(pod.Containers) != 1 || pod.HostNetwork || pod.HostIPC {
		t.Fatalf("%d containers, hostNetwork %v, hostIPC %v; want 1 and neither", len(pod.Containers), pod.HostNetwork, pod.HostIPC)
	}
	yes, no, root := true, false, int64(0)
	want := &corev1.SecurityContext{
		RunAsUser: &root, RunAsGroup: &root,
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"BPF", "PERFMON"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(want, pod.Containers[0].SecurityContext); diff != "" {
		t.Errorf("security context (-want +got):\n%s", diff)
	}
	writable := map[string]bool{}
	for _, mount := range pod.Containers[0].VolumeMounts {
		writable[mount.MountPath] = !mount.ReadOnly
	}
	wantWritable := map[string]bool{"/host/sys/fs/cgroup": false, "/run/containerd": false, "/var/lib/slicewatch": true}
	if diff := cmp.Diff(wantWritable, writable); diff != "" {
		t.Errorf("writable mounts (-want +got):\n%s", diff)
	}
}

func TestAgentRunsOnEveryNode(t *testing.T) {
	var set appsv1.DaemonSet
	read(t, "base/daemonset.yaml", "DaemonSet", &set)
	pod := set.Spec.Template.Spec
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{corev1.LabelOSStable: "linux"}, pod.NodeSelector); diff != "" {
		t.Errorf("node selector (-want +got):\n%s", diff)
	}
	resources := pod.Containers[0].Resources
	if resources.Requests.Memory().IsZero() || resources.Requests.Cpu().IsZero() || resources.Limits.Memory().IsZero() {
		t.Errorf("resources are %v, want requests and a memory limit", resources)
	}
	if _, limited := resources.Limits[corev1.ResourceCPU]; limited {
		t.Error("there is a CPU limit: the agent would be throttled when it is needed most")
	}
}

func TestAgentMayReadPodsOnly(t *testing.T) {
	var role rbacv1.ClusterRole
	read(t, "base/rbac.yaml", "ClusterRole", &role)
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
