// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"fmt"
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

// sighting is when a new container was seen, all by the node's clock in
// seconds: its process's start, the first sweep that exported it, and the
// first that exported it under its names.
type sighting struct{ started, appeared, named float64 }

// TestNamesInTime measures how long after its start a container has its names.
// With containerd they are there before its cgroup is, so no sweep may ever
// export it without; how long a sweep takes to come is in the log.
func TestNamesInTime(t *testing.T) {
	c, _, agent := open(t)
	for pod, seen := range watchNewcomers(t, c, agent, "quick") {
		logSighting(t, pod, seen)
		if seen.appeared != seen.named {
			t.Errorf("%s was exported without its names for %.1f s", pod, seen.named-seen.appeared)
		}
	}
}

// TestNamesByTheAPIAlone measures the same without containerd. A container is
// known to the API server only once the kubelet has said so.
func TestNamesByTheAPIAlone(t *testing.T) {
	c, pod, _ := open(t)
	agent := reconfigure(t, c, pod, `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--containerd=off"}]`)
	if s, err := agent.Scrape(t.Context()); err != nil {
		t.Fatal(err)
	} else if exists, _ := sourceUp(s, "containerd"); exists {
		t.Fatal("slicewatch_source_up has source=containerd although it is off")
	}
	eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "kubernetes", true) })
	for pod, seen := range watchNewcomers(t, c, agent, "slow") {
		logSighting(t, pod, seen)
	}
	// Everything else that runs has its names too.
	s, running := stable(t, c, agent)
	if problems := labelProblems(s, settled(running)); len(problems) > 0 {
		t.Error(strings.Join(problems, "\n"))
	}
}

// settled leaves out the pod that is killed again and again.
func settled(running []Container) []Container {
	return slices.DeleteFunc(slices.Clone(running), func(c Container) bool { return c.Pod == workloads.OOM })
}

func logSighting(t *testing.T, pod string, seen sighting) {
	t.Helper()
	t.Logf("%s: exported %.2f s after its process started, under its names %.2f s", pod, seen.appeared-seen.started, seen.named-seen.started)
}

// watchNewcomers starts pods and scrapes until all have their names.
func watchNewcomers(t *testing.T, c *cluster.Cluster, agent *Agent, prefix string) map[string]sighting {
	t.Helper()
	pods := c.API.CoreV1().Pods(metav1.NamespaceDefault)
	found := map[string]sighting{}
	for i := range newcomers {
		pod := newcomer(fmt.Sprintf("%s-%d", prefix, i))
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		now := int64(0)
		t.Cleanup(func() {
			_ = pods.Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
		found[pod.Name] = sighting{}
	}
	byID := map[string]sighting{}
	eventually(t, func(ctx context.Context) error {
		s, err := agent.Scrape(ctx)
		if err != nil {
			return err
		}
		return sight(s, byID, found)
	})
	return found
}

// sight takes over what one scrape shows, and returns an error as long as some
// pod has no named container.
func sight(s Scrape, byID, found map[string]sighting) error {
	swept, err := s.One("slicewatch_snapshot_timestamp_seconds")
	if err != nil {
		return err
	}
	for _, info := range s.Named("slicewatch_container_info") {
		id := info.Labels["container_id"]
		seen := byID[id]
		if seen.appeared == 0 {
			seen.appeared = swept
		}
		if seen.named == 0 && info.Labels["namespace"] != "" {
			seen.named = swept
			seen.started, _ = s.One("slicewatch_container_start_time_seconds",
				"namespace", info.Labels["namespace"], "pod", info.Labels["pod"], "container", info.Labels["container"])
		}
		byID[id] = seen
		if _, ours := found[info.Labels["pod"]]; ours {
			found[info.Labels["pod"]] = seen
		}
	}
	for pod, seen := range found {
		if seen.named == 0 {
			return fmt.Errorf("pod %s has no names yet", pod)
		}
	}
	return nil
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
