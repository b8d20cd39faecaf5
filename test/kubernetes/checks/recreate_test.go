// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// TestRecreatedPod deletes a StatefulSet's pod. The next one has the same name:
// its series say what it is itself, and their counters go on from the dead
// pod's without counting anything twice.
func TestRecreatedPod(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	labels := []string{"namespace", workloads.Namespace, "pod", workloads.StatefulPod, "container", "main"}
	before, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := podNamed(t, c, workloads.StatefulPod)
	if err := c.API.CoreV1().Pods(workloads.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var next Container
	var after Scrape
	eventually(t, func(ctx context.Context) error {
		next = Container{}
		for _, one := range Running(podsOfNode(t, c)) {
			if one.Namespace == workloads.Namespace && one.Pod == workloads.StatefulPod && one.UID != string(old.UID) {
				next = one
			}
		}
		if next.ID == "" {
			return errors.New("the next pod does not run yet")
		}
		if after, err = agent.Scrape(ctx); err != nil {
			return err
		}
		if problems := labelProblems(after, []Container{next}); len(problems) > 0 {
			return errors.New(strings.Join(problems, "\n"))
		}
		return nil
	})
	for _, one := range after.Named("slicewatch_container_info") {
		if one.Labels["uid"] == string(old.UID) {
			t.Errorf("the dead pod still has %v", one.Labels)
		}
	}
	starts := func(s Scrape) float64 {
		value, err := s.One("slicewatch_container_starts_total", labels...)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if was, is := starts(before), starts(after); is != was+1 {
		t.Errorf("slicewatch_container_starts_total was %v and is %v, want one more", was, is)
	}
	goesOn(t, c, agent, before, next, labels)
}

// goesOn fails unless the CPU time of a container is what its predecessor used
// and what its own cgroup says. The predecessor used a little more until it
// was deleted, but as it slept not a second.
func goesOn(t *testing.T, c *cluster.Cluster, agent *Agent, before Scrape, next Container, labels []string) {
	t.Helper()
	const family, slack = "cpu_usage_seconds_total", 1.0
	s, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree := cgroups(t, c)
	for _, mode := range []string{"user", "system"} {
		key := Key(family, "mode", mode)
		own := ContainerMeasures(tree.Cgroups[cgroupOf(tree, bareID(next.ID))])[key]
		was, err := before.One("slicewatch_container_"+family, append(labels, "mode", mode)...)
		if err != nil {
			t.Fatal(err)
		}
		is, err := s.One("slicewatch_container_"+family, append(labels, "mode", mode)...)
		if err != nil {
			t.Fatal(err)
		}
		if is < was || is > was+own+slack {
			t.Errorf("%s is %v; the dead pod's was %v and its own cgroup has %v", key, is, was, own)
		}
	}
}

func podNamed(t *testing.T, c *cluster.Cluster, name string) *corev1.Pod {
	t.Helper()
	pod, err := c.API.CoreV1().Pods(workloads.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
