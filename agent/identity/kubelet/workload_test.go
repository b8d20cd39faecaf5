// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWorkload(t *testing.T) {
	created := time.Unix(29_921_700*60+42, 0)
	tests := []struct {
		name         string
		pod          string
		ownerKind    string
		owner        string
		notInControl bool
		labels       map[string]string
		annotations  map[string]string
		kind, want   string
	}{
		{name: "bare pod", pod: "p", kind: "Pod", want: "p"},
		{name: "owner that does not control", pod: "p", ownerKind: "Thing", owner: "t", notInControl: true, kind: "Pod", want: "p"},
		{name: "deployment", pod: "web-7d5f9c-x2x", ownerKind: "ReplicaSet", owner: "web-7d5f9c",
			labels: map[string]string{"pod-template-hash": "7d5f9c"}, kind: "Deployment", want: "web"},
		{name: "rollout", pod: "web-7d5f9c-x2x", ownerKind: "ReplicaSet", owner: "web-7d5f9c",
			labels: map[string]string{"rollouts-pod-template-hash": "7d5f9c"}, kind: "Rollout", want: "web"},
		{name: "replica set of its own", pod: "web-x2x", ownerKind: "ReplicaSet", owner: "web", kind: "ReplicaSet", want: "web"},
		{name: "replica set, foreign hash", pod: "web-x2x", ownerKind: "ReplicaSet", owner: "web-1",
			labels: map[string]string{"pod-template-hash": "2"}, kind: "ReplicaSet", want: "web-1"},
		{name: "nothing before the hash", pod: "x", ownerKind: "ReplicaSet", owner: "-7d5f9c",
			labels: map[string]string{"pod-template-hash": "7d5f9c"}, kind: "ReplicaSet", want: "-7d5f9c"},
		{name: "stateful set", pod: "db-0", ownerKind: "StatefulSet", owner: "db", kind: "StatefulSet", want: "db"},
		{name: "daemon set", pod: "ds-bqgbz", ownerKind: "DaemonSet", owner: "ds", kind: "DaemonSet", want: "ds"},
		{name: "foreign controller", pod: "pg-1", ownerKind: "Cluster", owner: "pg", kind: "Cluster", want: "pg"},
		{name: "job", pod: "once-abcde", ownerKind: "Job", owner: "once", kind: "Job", want: "once"},
		{name: "cron job", pod: "tidy-29921700-abcde", ownerKind: "Job", owner: "tidy-29921700", kind: "CronJob", want: "tidy"},
		{name: "cron job's retry a week later", pod: "tidy-29911620-abcde", ownerKind: "Job", owner: "tidy-29911620", kind: "CronJob", want: "tidy"},
		{name: "job named by a date", pod: "x", ownerKind: "Job", owner: "backup-20261121", kind: "Job", want: "backup-20261121"},
		{name: "job named by a number", pod: "x", ownerKind: "Job", owner: "backup-3", kind: "Job", want: "backup-3"},
		{name: "job named by digits only", pod: "x", ownerKind: "Job", owner: "29921700", kind: "Job", want: "29921700"},
		{name: "job with a time to come", pod: "x", ownerKind: "Job", owner: "backup-29929999", kind: "Job", want: "backup-29929999"},
		{name: "job with a dash at the end", pod: "x", ownerKind: "Job", owner: "backup-", kind: "Job", want: "backup-"},
		{name: "job with a zero before", pod: "x", ownerKind: "Job", owner: "backup-029921700", kind: "Job", want: "backup-029921700"},
		{name: "static pod", pod: "kube-apiserver-node-a", ownerKind: "Node", owner: "node-a",
			annotations: map[string]string{MirrorAnnotation: "hash"}, kind: StaticPod, want: "kube-apiserver"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Name: tt.pod, Labels: tt.labels, Annotations: tt.annotations,
				CreationTimestamp: metav1.NewTime(created),
			}}
			pod.Spec.NodeName = "node-a"
			if tt.owner != "" {
				controls := !tt.notInControl
				pod.OwnerReferences = []metav1.OwnerReference{{Kind: tt.ownerKind, Name: tt.owner, Controller: &controls}}
			}
			if kind, name := Workload(pod); kind != tt.kind || name != tt.want {
				t.Errorf("Workload() = %s %q, want %s %q", kind, name, tt.kind, tt.want)
			}
		})
	}
}

func FuzzCronJobOf(f *testing.F) {
	f.Add("tidy-29921700", int64(29_921_700*60))
	f.Add("backup-20261121", int64(29_921_700*60))
	f.Add("-", int64(0))
	f.Fuzz(func(t *testing.T, job string, created int64) {
		name, ok := cronJobOf(job, time.Unix(created, 0))
		if ok && (name == "" || len(name) >= len(job) || job[:len(name)] != name) {
			t.Errorf("cronJobOf(%q) = %q", job, name)
		}
	})
}
