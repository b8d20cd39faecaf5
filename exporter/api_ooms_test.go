// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// oomServer serves four kills, the newest first but for one that was told late.
func oomServer(t *testing.T, published bool) http.Handler {
	t.Helper()
	store := snapshot.NewStore()
	if published {
		ago := func(id uint64, d time.Duration, namespace, pod string) *snapshot.OOMRecord {
			return &snapshot.OOMRecord{ID: id, Time: time.Now().Add(-d), Namespace: namespace, Pod: pod, Scope: snapshot.ScopePod}
		}
		publish(store, snapshot.Snapshot{OOMRecords: []*snapshot.OOMRecord{
			ago(4, 3*time.Minute, "shop", "web-1"), ago(3, time.Minute, "shop", "web-0"), ago(2, 2*time.Hour, "bank", "web-0"), ago(1, 3*time.Hour, "shop", "web-0"),
		}})
	}
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

func ask(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	if got := w.Header().Get("Content-Type"); got != "application/json" && w.Code != http.StatusMethodNotAllowed {
		t.Errorf("%s: content type %q", path, got)
	}
	return w.Code, w.Body.String()
}

func TestOOMsAreFiltered(t *testing.T) {
	h := oomServer(t, true)
	for query, want := range map[string]string{
		"":                                   "3 4 2 1 of 4",
		"?limit=2":                           "3 4 of 4",
		"?namespace=shop":                    "3 4 1 of 3",
		"?namespace=shop&pod=web-0":          "3 1 of 2",
		"?pod=web-2":                         "of 0",
		"?since=90m":                         "3 4 of 2",
		"?since=90m&pod=web-0&limit=1":       "3 of 1",
		"?since=2020-01-01T00:00:00+01:00":   "3 4 2 1 of 4",
		"?since=2020-01-01T00:00:00%2B01:00": "3 4 2 1 of 4",
	} {
		status, body := ask(t, h, http.MethodGet, "/api/v1/ooms"+query)
		var list OOMList
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", query, status, body, err)
		}
		got := ""
		for _, r := range list.OOMs {
			got += fmt.Sprint(r.ID, " ")
		}
		if diff := cmp.Diff(want, fmt.Sprintf("%sof %d", got, list.Matching)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		if list.OOMs == nil {
			t.Errorf("%s: null instead of an empty list", query)
		}
	}
}

func TestWrongQueriesAreExplained(t *testing.T) {
	h := oomServer(t, true)
	for query, want := range map[string]string{
		"?limit=0":          "limit=0: want a number from 1 to 1000",
		"?limit=1001":       "from 1 to 1000",
		"?limit=many":       "limit=many",
		"?since=-1h":        "since=-1h: want a duration",
		"?since=2026-13-01": "want a duration such as 1h30m",
		"?containers=a":     `there is no parameter \"containers\"; there are limit, namespace, pod and since`,
		"?pod=a&pod=b":      "pod is given 2 times",
		"?pod=%zz":          "the query cannot be read",
		"?namespace=%3Cscript%3E&limit=%3Cscript%3E": `limit=\u003cscript\u003e`,
	} {
		if status, body := ask(t, h, http.MethodGet, "/api/v1/ooms"+query); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want 400 with %q", query, status, body, want)
		}
	}
	if status, _ := ask(t, h, http.MethodPost, "/api/v1/ooms"); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", status)
	}
	if status, body := ask(t, oomServer(t, false), http.MethodGet, "/api/v1/ooms"); status != http.StatusServiceUnavailable || !strings.Contains(body, "not finished") {
		t.Errorf("before the first sweep: %d %s", status, body)
	}
}

// The usual scopes are there from the start, the others from their first kill.
func TestOOMSeriesFromTheStart(t *testing.T) {
	store := storeOf(snapshot.Snapshot{Taken: taken, OOMs: []snapshot.OOMSeries{
		{Series: 1, Namespace: "shop", Pod: "web-1", Container: "app"},
		{Series: 2, Namespace: "shop", Pod: "web-1", Container: "db", Kills: [snapshot.NumOOMScopes]uint64{snapshot.ScopeNode: 1}, Processes: [snapshot.NumOOMScopes]uint64{snapshot.ScopeNode: 3}},
	}})
	want := map[string]string{
		`slicewatch_oom_kills_total{container="app",namespace="shop",pod="web-1",qos="guaranteed",scope="container"}`: "0",
		`slicewatch_oom_kills_total{container="app",namespace="shop",pod="web-1",qos="guaranteed",scope="pod"}`:       "0",
		`slicewatch_oom_kills_total{container="db",namespace="shop",pod="web-1",qos="guaranteed",scope="container"}`:  "0",
		`slicewatch_oom_kills_total{container="db",namespace="shop",pod="web-1",qos="guaranteed",scope="node"}`:       "1",
		`slicewatch_oom_kills_total{container="db",namespace="shop",pod="web-1",qos="guaranteed",scope="pod"}`:        "0",
	}
	if diff := cmp.Diff(want, only(samples(t, text(t, NewGatherer(store, nil, Selection{}))), "slicewatch_oom_kills_total")); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}
