// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

func hintServer(t *testing.T, store *snapshot.Store) http.Handler {
	t.Helper()
	registry := prometheus.NewRegistry()
	self, err := NewSelfMetrics(registry, Build{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Store: store, Self: self, Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s.Handler()
}

func askHints(t *testing.T, h http.Handler, query string) (int, HintList) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/hints"+query, http.NoBody))
	var list HintList
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return w.Code, list
}

func TestHintsOverTheAPI(t *testing.T) {
	h := hintServer(t, storeOf(fullSnapshot()))
	status, list := askHints(t, h, "")
	if status != http.StatusOK || len(list.Hints) != 1 || !list.Time.Equal(taken) {
		t.Fatalf("status %d, %+v", status, list)
	}
	number := func(v float64) *float64 { return &v }
	published := taken.Add(-time.Hour).UTC()
	got := list.Hints[0]
	want := ContainerHint{
		Namespace: "shop", Pod: "web-1", Container: "app", Type: "app", QoS: "burstable", WorkloadKind: "Deployment", Workload: "web",
		Now: got.Now,
		Hint: Resources{
			CPURequestCores: number(0.21), CPULimitCores: number(0.89), MemoryRequestBytes: number(144 << 20), MemoryLimitBytes: number(272 << 20),
		},
		CPUBurstSeconds: number(0.039), Policy: "burstable", Confidence: 0.75, Urgent: true, Published: &published,
		Reasons: []HintReason{
			{Code: "cpu_demand", Resource: "cpu", Text: "95% of the time it used at most 205m.", Evidence: map[string]float64{"p95_24h_cores": 0.205}},
			{Code: "cpu_held", Resource: "cpu", Text: "Shown is the request."},
			{Code: "cpu_held", Resource: "cpu", Text: "Shown is the limit."},
			{Code: "memory_peak", Resource: "memory", Text: "The highest working set is 100Mi."},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Now.CPURequestCores == nil || *got.Now.CPURequestCores != 0.25 {
		t.Errorf("what is set now: %+v", got.Now)
	}
}

func TestHintsAreFiltered(t *testing.T) {
	h := hintServer(t, storeOf(fullSnapshot()))
	for query, want := range map[string]int{
		"?namespace=shop": 1, "?namespace=bank": 0, "?workload=web": 1, "?workload=x": 0, "?pod=web-1": 1, "?namespace=shop&pod=x": 0,
	} {
		if status, list := askHints(t, h, query); status != http.StatusOK || len(list.Hints) != want {
			t.Errorf("%s: status %d, %d hints, want %d", query, status, len(list.Hints), want)
		}
	}
	for _, query := range []string{"?podd=x", "?pod=a&pod=b"} {
		if status, _ := askHints(t, h, query); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, status)
		}
	}
	if status, _ := askHints(t, hintServer(t, snapshot.NewStore()), ""); status != http.StatusServiceUnavailable {
		t.Errorf("before the first sweep: status %d", status)
	}
}
