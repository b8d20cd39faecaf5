// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
	"github.com/slicewatch/slicewatch/test/kubernetes/nodeimage"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// newcomers is how many pods are started to see when they get their names.
const newcomers = 3

// In time is what Kubernetes' users are promised: within this time of a start
// with containerd, and within this time of what the API server says without.
const (
	inTimeByRuntime = 1.0
	inTimeByAPI     = 3.0
	// sweepInterval is the agent's default.
	sweepInterval = 1.0
)

// TestNamesInTime measures how long after containerd started it a container has
// its names. containerd tells them before it makes the cgroup, so no sweep may
// ever export it without.
func TestNamesInTime(t *testing.T) {
	c, _, agent := open(t)
	namesInTime(t, c, agent, "quick")
}

func namesInTime(t *testing.T, c *cluster.Cluster, agent *Agent, prefix string) {
	t.Helper()
	clocks := startClocks(t, c)
	for pod, seen := range watchNewcomers(t, c, agent, prefix) {
		started := clocks.started(t, seen.id)
		t.Logf("%s: by containerd it started %.2f s after its process; under its names in the sweep %.2f s after that start, the sweep before %+.2f s",
			pod, started-seen.process, seen.named-started, seen.without-started)
		if seen.nameless {
			t.Errorf("%s was exported without its names", pod)
		}
		if seen.without > started+inTimeByRuntime {
			t.Errorf("a sweep %.2f s after containerd started %s has it not under its names, want %v s at most", seen.without-started, pod, inTimeByRuntime)
		}
		if late := seen.named - started; late > inTimeByRuntime+seen.slack() {
			t.Errorf("%s was seen under its names only in a sweep %.2f s after containerd started it, want %v s and %.2f s of looking at most",
				pod, late, inTimeByRuntime, seen.slack())
		}
	}
}

// TestNamesByTheAPIAlone measures the same without containerd. The API server
// knows a container's id once the kubelet has said so, which is the kubelet's
// time; what the agent takes from there on is its own. A pod's names do not
// depend on that: its UID is known before the kubelet makes its cgroup.
func TestNamesByTheAPIAlone(t *testing.T) {
	c, pod, _ := open(t)
	agent := reconfigure(t, c, pod, `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--containerd=off"}]`)
	if s, err := agent.Scrape(t.Context()); err != nil {
		t.Fatal(err)
	} else if exists, _ := sourceUp(s, "containerd"); exists {
		t.Fatal("slicewatch_source_up has source=containerd although it is off")
	}
	eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "kubernetes", true) })
	clocks := startClocks(t, c)
	for pod, seen := range watchNewcomers(t, c, agent, "slow") {
		started, told := clocks.started(t, seen.id), clocks.told(t, pod)
		t.Logf("%s: containerd started it %.2f s after its process, the API server said so %.2f s after that; "+
			"under its names in the sweep %.2f s after the API server, the sweep before %+.2f s",
			pod, started-seen.process, told-started, seen.named-told, seen.without-told)
		if seen.without > told+inTimeByAPI {
			t.Errorf("a sweep %.2f s after the API server named %s has it not under its names, want %v s at most", seen.without-told, pod, inTimeByAPI)
		}
		if late := seen.named - told; late > inTimeByAPI+seen.slack() {
			t.Errorf("%s was seen under its names only in a sweep %.2f s after the API server named it, want %v s and %.2f s of looking at most",
				pod, late, inTimeByAPI, seen.slack())
		}
		if seen.podNameless {
			t.Errorf("pod %s was exported under its UID, which the API server had told before", pod)
		}
	}
	// Everything else that runs has its names too. What is killed and started again
	// has none until the API server is told, which takes the kubelet seconds.
	eventually(t, func(context.Context) error {
		s, running := stable(t, c, agent)
		if problems := labelProblems(s, settled(running)); len(problems) > 0 {
			return errors.New(strings.Join(problems, "\n"))
		}
		return nil
	})
}

// settled leaves out the pod that is killed again and again.
func settled(running []Container) []Container {
	return slices.DeleteFunc(slices.Clone(running), func(c Container) bool { return c.Pod == workloads.OOM })
}

func newcomer(name string) *corev1.Pod {
	grace, no := int64(0), false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: node.Name, HostNetwork: true, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: nodeimage.BusyboxImage, ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "100000"},
			}},
		},
	}
}

// reconfigure patches the agent's DaemonSet until the end of the test, and
// returns the agent that runs with it.
func reconfigure(t *testing.T, c *cluster.Cluster, pod *corev1.Pod, patch string) *Agent {
	t.Helper()
	sets := c.API.AppsV1().DaemonSets(install.Namespace)
	if _, err := sets.Patch(t.Context(), install.DaemonSet, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	next, agent := nextAgent(t, c, pod)
	t.Cleanup(func() {
		if err := c.Kubectl(context.WithoutCancel(t.Context()), nil, t.Output(), "--namespace="+install.Namespace,
			"rollout", "undo", "daemonset/"+install.DaemonSet); err != nil {
			t.Error(err)
			return
		}
		nextAgent(t, c, next)
	})
	return agent
}

// nextAgent waits for the agent that comes after the one of pod.
func nextAgent(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) (next *corev1.Pod, agent *Agent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), recovery)
	defer cancel()
	for {
		found, err := AgentPod(ctx, c)
		if err == nil && found.UID != pod.UID {
			agent := NewAgent(c, found)
			if _, err = agent.Get(ctx, "/-/ready"); err == nil {
				return found, agent
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no agent came after that of pod %s: %v", pod.Name, err)
		case <-time.After(time.Second):
		}
	}
}
