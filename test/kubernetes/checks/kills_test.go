// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// wantedKills is how many kills are waited for: one that is counted twice, or
// not at all, is further off than what moves between two looks.
const wantedKills = 3

// killCounts are the kills of the workload that wants too much, by those who
// count them.
type killCounts struct {
	kernel   float64 // in its pod's memory.events
	agent    float64 // in slicewatch_oom_kills_total
	records  float64 // of the agent
	restarts float64 // of Kubernetes, which tells them some time after the kill
}

// TestKills checks that a container that the kernel kills again and again is
// counted once for each time, under its names, on the level whose limit it
// was, and that each kill has its record.
func TestKills(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	// Counted from here on, as the agent may be younger than the workload.
	before, err := countKills(ctx, t, c, agent)
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for after.kernel < before.kernel+wantedKills { // Kubernetes waits up to half a minute before each start
		select {
		case <-ctx.Done():
			t.Fatalf("only %v further kills after all this time", after.kernel-before.kernel)
		case <-time.After(5 * time.Second):
		}
		if after, err = countKills(ctx, t, c, agent); err != nil {
			t.Fatal(err)
		}
	}
	for round := 0; round < rounds && after.agent-before.agent < after.kernel-before.kernel; round++ {
		if after, err = countKills(ctx, t, c, agent); err != nil {
			t.Fatal(err)
		}
	}
	kills := after.kernel - before.kernel
	if got := after.agent - before.agent; got != kills {
		t.Errorf("slicewatch_oom_kills_total grew by %v, the kernel killed %v times", got, kills)
	}
	if got := after.records - before.records; got != kills {
		t.Errorf("%v further records, the kernel killed %v times", got, kills)
	}
	if got := after.restarts - before.restarts; got < kills-2 || got > kills+2 {
		t.Errorf("%v restarts, the kernel killed %v times", got, kills)
	}
	records := oomRecords(ctx, t, agent).OOMs // the newest first
	for _, r := range records[:min(int(kills), len(records))] {
		if r.Container != killed || r.Processes < 1 || r.Limit == nil || r.Message == "" {
			t.Errorf("the record %+v lacks something", r)
		}
	}
}

// countKills looks until no kill happens while it asks everybody.
func countKills(ctx context.Context, t *testing.T, c *cluster.Cluster, agent *Agent) (killCounts, error) {
	t.Helper()
	for {
		kernel, err := kernelKills(ctx, t, c)
		if err != nil {
			return killCounts{}, err
		}
		// What this returns was swept after the kernel's count was read.
		s, err := agent.ScrapeAfter(ctx)
		if err != nil {
			return killCounts{}, err
		}
		kills, err := oomKills(s)
		if err != nil {
			return killCounts{}, err
		}
		counts := killCounts{
			kernel: kernel, agent: kills,
			records:  float64(oomRecords(ctx, t, agent).Matching),
			restarts: float64(restartsOf(t, c, workloads.OOM)),
		}
		if again, err := kernelKills(ctx, t, c); err != nil || again == kernel {
			return counts, err
		}
	}
}

// kernelKills reads how often the kernel killed in the pod. Each kill takes the
// whole container (memory.oom.group) and is one oom_group_kill, which outlives the
// container in its pod's count; oom_kill counts processes.
func kernelKills(ctx context.Context, t *testing.T, c *cluster.Cluster) (float64, error) {
	t.Helper()
	tree, err := c.Node.Cgroups(ctx, "memory.events")
	if err != nil {
		return 0, err
	}
	uid := string(podNamed(t, c, workloads.OOM).UID)
	pod := ""
	for where := range tree.Cgroups {
		if strings.Contains(where, uid) || strings.Contains(where, strings.ReplaceAll(uid, "-", "_")) {
			if pod == "" || len(where) < len(pod) {
				pod = where
			}
		}
	}
	for line := range strings.Lines(tree.Cgroups[pod]["memory.events"]) {
		var kills float64
		if _, err := fmt.Sscanf(line, "oom_group_kill %f", &kills); err == nil {
			return kills, nil
		}
	}
	return 0, errors.New("the pod " + workloads.OOM + " has no oom_group_kill in a memory.events")
}

// oomRecords returns the agent's records of the workload's kills.
func oomRecords(ctx context.Context, t *testing.T, agent *Agent) exporter.OOMList {
	t.Helper()
	body, err := agent.Get(ctx, "/api/v1/ooms?namespace="+workloads.Namespace+"&pod="+workloads.OOM)
	if err != nil {
		t.Fatal(err)
	}
	var list exporter.OOMList
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// killed is the container of the workload that wants too much.
const killed = "hog"

// oomKills returns how often the container was killed under its name, by limits that
// it can have hit. What was killed while the agent started, and gone before its first
// sweep, is counted for the pod, with no container: it is not looked at here.
func oomKills(s Scrape) (float64, error) {
	kills := 0.0
	for _, scope := range []string{"container", "pod"} {
		value, err := s.One("slicewatch_oom_kills_total", "namespace", workloads.Namespace, "pod", workloads.OOM, "container", killed, "scope", scope)
		if err != nil {
			return 0, err
		}
		kills += value
	}
	return kills, nil
}

// restartsOf returns how often Kubernetes restarted the containers of a pod.
func restartsOf(t *testing.T, c *cluster.Cluster, name string) int {
	t.Helper()
	restarts := 0
	for _, pod := range podsOfNode(t, c) {
		if pod.Namespace == workloads.Namespace && pod.Name == name {
			for i := range pod.Status.ContainerStatuses {
				restarts += int(pod.Status.ContainerStatuses[i].RestartCount)
			}
		}
	}
	return restarts
}
