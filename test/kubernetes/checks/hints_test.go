// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/cmd/slicewatch/cluster"
	"github.com/slicewatch/slicewatch/exporter/client"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// TestHints asks for hints as `slicewatch hints --cluster` does: through the API
// server, with a user's kubeconfig.
func TestHints(t *testing.T) {
	c, _, _ := openWithWorkloads(t)
	user, err := cluster.Connect(cluster.Config{Kubeconfig: c.Plane.Kubeconfig()})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"throttled/burn": "cpu_throttled", "besteffort/main": "qos_besteffort", "db-0/main": "qos_stateful"}
	// A window of periods takes a minute.
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Second) {
		codes := askForHints(t, user)
		missing := ""
		for of, code := range want {
			if !slices.Contains(codes[of], code) {
				missing += fmt.Sprintf("\n%s: reasons are %q, want %s", of, codes[of], code)
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
	}
}

// askForHints returns the reasons' codes of each container.
func askForHints(t *testing.T, user *cluster.Cluster) map[string][]string {
	t.Helper()
	list, failed, err := user.Hints(t.Context(), cluster.Agents{Selector: cluster.Selector}, client.HintQuery{Namespace: workloads.Namespace})
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	codes := map[string][]string{}
	for _, h := range list.Hints {
		if h.Namespace != workloads.Namespace {
			t.Errorf("asked for those of %s, got one of %s", workloads.Namespace, h.Namespace)
		}
		for _, r := range h.Reasons {
			codes[h.Pod+"/"+h.Container] = append(codes[h.Pod+"/"+h.Container], string(r.Code))
			if r.Text == "" {
				t.Errorf("%s/%s: %s has no sentence", h.Pod, h.Container, r.Code)
			}
		}
	}
	return codes
}
