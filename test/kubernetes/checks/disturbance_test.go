// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

const (
	// outage is how long the API server is away.
	outage = 2 * time.Minute
	// recovery is how long anything may take to come back.
	recovery = 5 * time.Minute
)

// names are the labels of every container's info by its id, of containers of
// the namespace that never restart by themselves.
func names(s Scrape, ids map[string]bool) map[string]string {
	all := map[string]string{}
	for _, one := range s.Named("slicewatch_container_info") {
		id := one.Labels["container_id"]
		if !ids[bareID(id)] {
			continue
		}
		if _, twice := all[id]; twice {
			all[id] += " and again "
		}
		all[id] += fmt.Sprint(one.Labels)
	}
	return all
}

// lasting returns the ids of the containers that run as long as the tests do.
func lasting(t *testing.T, c *cluster.Cluster) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, one := range Running(podsOfNode(t, c)) {
		if one.Namespace == workloads.Namespace && one.Pod != workloads.OOM {
			ids[bareID(one.ID)] = true
		}
	}
	return ids
}

// eventually fails the test unless check returns nil within recovery.
func eventually(t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", recovery, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sourceIs returns an error unless the agent says that a source is as wanted;
// a source that the agent does not have is as wanted.
func sourceIs(ctx context.Context, agent *Agent, name string, wanted bool) error {
	s, err := agent.Scrape(ctx)
	if err != nil {
		return err
	}
	if exists, up := sourceUp(s, name); exists && up != wanted {
		return fmt.Errorf("slicewatch_source_up{source=%q} is %v", name, up)
	}
	return nil
}

// namesStay fails unless every lasting container has the names that it had.
func namesStay(t *testing.T, agent *Agent, ids map[string]bool, before map[string]string) {
	t.Helper()
	s, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, names(s, ids)); diff != "" {
		t.Errorf("names changed (-before +now):\n%s", diff)
	}
}

// TestAPIServerAway checks that nothing is lost or doubled while the API
// server is down.
func TestAPIServerAway(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	ids := lasting(t, c)
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := names(s, ids)
	if err := c.Plane.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	started := false
	start := func() {
		if started {
			return
		}
		started = true
		if err := c.Plane.StartAPIServer(); err != nil {
			t.Fatal(err)
		}
		if err := c.Plane.AwaitAPIServer(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(start)
	eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "kubernetes", false) })
	time.Sleep(outage)
	namesStay(t, agent, ids, before)
	start()
	eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "kubernetes", true) })
	namesStay(t, agent, ids, before)
}

// TestRuntimeRestarts checks the same for containerd and the kubelet.
func TestRuntimeRestarts(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	ids := lasting(t, c)
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := names(s, ids)
	for _, program := range []string{"containerd", "kubelet"} {
		t.Run(program, func(t *testing.T) {
			old, err := c.Node.Shell(t.Context(), "pidof "+program)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Node.Shell(t.Context(), "kill "+old); err != nil {
				t.Fatal(err)
			}
			eventually(t, func(ctx context.Context) error {
				now, err := c.Node.Shell(ctx, "pidof "+program)
				if err == nil && now == old {
					err = fmt.Errorf("%s still has process id %s", program, old)
				}
				return err
			})
			eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "containerd", true) })
			namesStay(t, agent, ids, before)
		})
	}
}

// TestAgentRestarts checks that counters and names go on in a new agent.
func TestAgentRestarts(t *testing.T) {
	c, pod, agent := openWithWorkloads(t)
	ids := lasting(t, c)
	before, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.API.CoreV1().Pods(install.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, agent = nextAgent(t, c, pod)
	eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "kubernetes", true) })
	namesStay(t, agent, ids, names(before, ids))
	after, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range fallen(before, after, ids) {
		t.Error(problem)
	}
}

// fallen lists the counters of lasting containers that went down or away.
func fallen(before, after Scrape, ids map[string]bool) []string {
	lasts := map[string]bool{}
	for _, one := range before.Named("slicewatch_container_info") {
		if ids[bareID(one.Labels["container_id"])] {
			lasts[one.Labels["namespace"]+"/"+one.Labels["pod"]+"/"+one.Labels["container"]] = true
		}
	}
	now := map[string]float64{}
	for _, one := range after.All {
		now[one.Name+fmt.Sprint(one.Labels)] = one.Value
	}
	var problems []string
	for _, one := range before.All {
		who := one.Labels["namespace"] + "/" + one.Labels["pod"] + "/" + one.Labels["container"]
		if !lasts[who] || !strings.HasSuffix(one.Name, "_total") {
			continue
		}
		key := one.Name + fmt.Sprint(one.Labels)
		if value, found := now[key]; !found || value < one.Value {
			problems = append(problems, fmt.Sprintf("%s was %v and is %v (there: %v)", key, one.Value, value, found))
		}
	}
	return problems
}
