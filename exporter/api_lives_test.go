// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

func askLives(t *testing.T, store *snapshot.Store, query string) (int, string) {
	t.Helper()
	return ask(t, hintServer(t, store), http.MethodGet, "/api/v1/lives"+query)
}

// livesStore has a container that runs for the third time, one of which nothing is
// known, a sandbox, and one that is gone.
func livesStore() *snapshot.Store {
	running := snapshot.Container{
		Identity: &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "app", PodUID: "uid-0"}, QoS: cgroupfs.Burstable,
		CgroupID: 30, ContainerID: "c30", Started: taken.Add(-2*time.Second - 400*time.Microsecond), HighestMemoryBytes: known(4096),
	}
	running.Current.Set(cgroupfs.CPUUsage, 1_500_000)
	sandbox, ended := running, running
	sandbox.Sandbox, ended.Ended = true, taken
	bare := snapshot.Container{Identity: &snapshot.ContainerIdentity{Pod: "uid-1", Name: "41340dc9c1d4"}, QoS: cgroupfs.BestEffort, Started: taken.Add(-time.Hour)}
	app := func(cgroup uint64, ago time.Duration, end snapshot.LifeEnd) *snapshot.Life {
		return &snapshot.Life{
			Namespace: "shop", Pod: "web-0", Container: "app", QoS: cgroupfs.Burstable, PodUID: "uid-0", CgroupID: cgroup, End: end,
			Started: taken.Add(-ago), Ended: taken.Add(time.Minute - ago),
		}
	}
	killed := app(20, 5*time.Minute, snapshot.LifeOOMKilled)
	killed.CPUMicros, killed.ThrottledMicros, killed.MemoryPeakBytes, killed.MemoryLimitBytes = known(41_000), known(0), known(64<<20), known(64<<20)
	lost := &snapshot.Life{Namespace: "bank", Pod: "web-0", Container: "db", End: snapshot.LifeUnseen, Ended: taken.Add(-7 * time.Minute), CgroupID: 5}
	return storeOf(snapshot.Snapshot{
		Taken: taken, Containers: []snapshot.Container{bare, running, sandbox, ended},
		Lives: []*snapshot.Life{app(10, 9*time.Minute, snapshot.LifeEnded), killed, lost},
	})
}

func TestLivesOverTheAPI(t *testing.T) {
	status, body := askLives(t, livesStore(), "")
	var got, want any
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	if err := json.Unmarshal([]byte(`{"time": "2026-11-21T20:03:50.786Z", "matching": 5, "lives": [
		{"namespace": "shop", "pod": "web-0", "container": "app", "qos": "burstable", "podUID": "uid-0", "containerID": "c30", "cgroupID": 30,
			"started": "2026-11-21T20:03:48.785Z", "end": "running", "cpuSeconds": 1.5, "memoryPeakBytes": 4096},
		{"namespace": "shop", "pod": "web-0", "container": "app", "qos": "burstable", "podUID": "uid-0", "cgroupID": 20,
			"started": "2026-11-21T19:58:50.786Z", "ended": "2026-11-21T19:59:50.786Z", "end": "oom_killed",
			"cpuSeconds": 0.041, "throttledSeconds": 0, "memoryPeakBytes": 67108864, "memoryLimitBytes": 67108864},
		{"namespace": "bank", "pod": "web-0", "container": "db", "qos": "guaranteed", "cgroupID": 5, "ended": "2026-11-21T19:56:50.786Z", "end": "unseen"},
		{"namespace": "shop", "pod": "web-0", "container": "app", "qos": "burstable", "podUID": "uid-0", "cgroupID": 10,
			"started": "2026-11-21T19:54:50.786Z", "ended": "2026-11-21T19:55:50.786Z", "end": "ended"},
		{"namespace": "", "pod": "uid-1", "container": "41340dc9c1d4", "qos": "besteffort", "started": "2026-11-21T19:03:50.786Z", "end": "running"}
	]}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestLivesAreFiltered(t *testing.T) {
	store := livesStore()
	for query, want := range map[string]string{
		"?limit=2":                     "30 20 of 5",
		"?namespace=bank":              "5 of 1",
		"?pod=web-0":                   "30 20 5 10 of 4",
		"?pod=web-0&namespace=shop":    "30 20 10 of 3",
		"?pod=web-7":                   "of 0",
		"?since=2026-11-21T19:58:00Z":  "30 20 0 of 3", // what runs does so since then, too
		"?since=2026-11-21T20:03:51Z":  "30 0 of 2",
		"?limit=10000&namespace=other": "of 0",
	} {
		status, body := askLives(t, store, query)
		var list LifeList
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", query, status, body, err)
		}
		got := ""
		for i := range list.Lives {
			got += fmt.Sprint(list.Lives[i].CgroupID, " ")
		}
		if diff := cmp.Diff(want, fmt.Sprintf("%sof %d", got, list.Matching)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		if list.Lives == nil {
			t.Errorf("%s: null instead of an empty list", query)
		}
	}
	for query, want := range map[string]string{
		"?limit=10001": "from 1 to 10000", "?since=-1h": "since=-1h: want a duration", "?pod=a&pod=b": "pod is given 2 times",
		"?container=a": `there is no parameter \"container\"; there are limit, namespace, pod and since`, "?pod=%zz": "the query cannot be read",
	} {
		if status, body := askLives(t, store, query); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want 400 with %q", query, status, body, want)
		}
	}
	if status, body := askLives(t, snapshot.NewStore(), ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "not finished") {
		t.Errorf("before the first sweep: %d %s", status, body)
	}
}
