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

// sourceIs returns an error unless the agent says that a source is as wanted.
func sourceIs(ctx context.Context, agent *Agent, name string, wanted bool) error {
	s, err := agent.Scrape(ctx)
	if err != nil {
		return err
	}
	if exists, up := sourceUp(s, name); !exists || up != wanted {
		return fmt.Errorf("slicewatch_source_up{source=%q} exists: %v, up: %v; want it %v", name, exists, up, wanted)
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

// startsLate makes the next containerd wait before it starts, once: the one that
// is started in its place at once may be back before a scrape sees it away. What
// is started is a script of its name, whoever supervises it, which puts the
// program back into its place.
const startsLate = `cd /usr/local/bin || exit 1
[ -e containerd.own ] || mv containerd containerd.own || exit 1
cat >containerd <<'END' && chmod 755 containerd
#!/bin/sh
sleep 30
mv -f /usr/local/bin/containerd.own /usr/local/bin/containerd
exec /usr/local/bin/containerd "$@"
END
`

// TestRuntimeRestarts checks the same for containerd and the kubelet, and that
// what starts afterwards gets its names in time again.
func TestRuntimeRestarts(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	ids := lasting(t, c)
	for _, program := range []string{"containerd", "kubelet"} {
		t.Run(program, func(t *testing.T) {
			before, err := agent.ScrapeAfter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if program == "containerd" {
				if output, err := c.Node.Shell(t.Context(), startsLate); err != nil {
					t.Fatalf("%v: %s", err, output)
				}
			}
			restart(t, c, program, func() {
				if program == "containerd" {
					eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "containerd", false) })
				}
			})
			eventually(t, func(ctx context.Context) error { return sourceIs(ctx, agent, "containerd", true) })
			namesStay(t, agent, ids, names(before, ids))
			namesInTime(t, c, agent, "after-"+program)
			after, err := agent.ScrapeAfter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range slices.Concat(fallen(before, after, ids), startedAgain(before, after, ids)) {
				t.Error(problem)
			}
			// Nor doubled: the cgroups are the same, and what their files say holds.
			agree(t, 10, func() (map[string]string, int) { return valueProblems(t, c, agent) })
		})
	}
}

// restart ends a program of the node, calls ended, and waits for its successor.
func restart(t *testing.T, c *cluster.Cluster, program string, ended func()) {
	t.Helper()
	old, err := c.Node.Shell(t.Context(), "pidof "+program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Node.Shell(t.Context(), "kill "+old); err != nil {
		t.Fatal(err)
	}
	ended()
	eventually(t, func(ctx context.Context) error {
		now, err := c.Node.Shell(ctx, "pidof "+program)
		if err == nil && now == old {
			err = fmt.Errorf("%s still has process id %s", program, old)
		}
		return err
	})
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
	return compareLasting(before, after, ids, func(one Series, value float64, found bool) bool {
		return strings.HasSuffix(one.Name, "_total") && (!found || value < one.Value)
	})
}

// startedAgain lists the lasting containers that are said to have started once
// more.
func startedAgain(before, after Scrape, ids map[string]bool) []string {
	return compareLasting(before, after, ids, func(one Series, value float64, _ bool) bool {
		return one.Name == "slicewatch_container_starts_total" && value > one.Value
	})
}

// compareLasting lists the series of lasting containers whose values afterwards
// are wrong.
func compareLasting(before, after Scrape, ids map[string]bool, wrong func(was Series, value float64, found bool) bool) []string {
	who := func(one Series) string {
		return one.Labels["namespace"] + "/" + one.Labels["pod"] + "/" + one.Labels["container"]
	}
	lasts := map[string]bool{}
	for _, one := range before.Named("slicewatch_container_info") {
		if ids[bareID(one.Labels["container_id"])] {
			lasts[who(one)] = true
		}
	}
	now := map[string]float64{}
	for _, one := range after.All {
		now[one.Name+fmt.Sprint(one.Labels)] = one.Value
	}
	var problems []string
	for _, one := range before.All {
		key := one.Name + fmt.Sprint(one.Labels)
		if value, found := now[key]; lasts[who(one)] && wrong(one, value, found) {
			problems = append(problems, fmt.Sprintf("%s was %v and is %v (there: %v)", key, one.Value, value, found))
		}
	}
	return problems
}
