// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
)

var update = flag.Bool("update", false, "write expected outputs anew")

func known(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }

func list() *exporter.OOMList {
	at := time.Date(2026, 11, 21, 20, 2, 17, 120e6, time.UTC)
	var before []snapshot.Moment
	for i := range 60 {
		before = append(before, snapshot.Moment{
			Time: at.Add(time.Duration(i-60) * time.Second), MemoryBytes: known(int64(i+4) << 20), CPUMicros: known(1000),
		})
	}
	before[3].MemoryBytes = snapshot.Amount{}
	return &exporter.OOMList{Matching: 5, OOMs: []*snapshot.OOMRecord{
		{
			ID: 3, Time: at, Namespace: "shop", Pod: "web-5d8f", Container: "server", QoS: "burstable", Scope: snapshot.ScopePod,
			Message: "The kernel killed all 2 processes of the container: the pod as a whole reached its memory limit of 64 MiB.",
			Limit:   &snapshot.OOMLimit{Path: "/kubepods.slice/x", Bytes: known(64 << 20), UsageBytes: known(64 << 20)},
			Trigger: &snapshot.OOMTask{PID: 12, Command: "node"}, Processes: 2, Group: true, Source: snapshot.OOMFromKernel,
			Victims: []snapshot.OOMVictim{{PID: 12, Command: "no\x1bde", AnonBytes: 40 << 20, FileBytes: 1 << 20, OOMScoreAdj: 937}, {PID: 13, Command: "worker"}},
			Before:  before,
		},
		{
			ID: 2, Time: at.Add(-time.Hour), Pod: "a9100000-0000-4000-8000-000000000003", Container: "41340dc9c1d4", QoS: "besteffort",
			Scope: snapshot.ScopeNode, Message: "The kernel killed a process: the node ran out of memory.", Processes: 1, Source: snapshot.OOMFromFiles,
			Before: before[:3],
		},
		{ID: 1, Time: at.Add(-2 * time.Hour), Namespace: "shop", Pod: "web-0", Container: "server", QoS: "guaranteed", Processes: 3, Source: snapshot.OOMFromFiles},
	}}
}

func TestWriteOOMs(t *testing.T) {
	for _, form := range Forms() {
		var b bytes.Buffer
		if err := WriteOOMs(&b, list(), form); err != nil {
			t.Fatal(err)
		}
		holdsGolden(t, "ooms."+form, b.String())
	}
	var b bytes.Buffer
	if err := WriteOOMs(&b, &exporter.OOMList{}, Wide); err != nil || b.String() != "No OOM kills.\n" {
		t.Errorf("without kills: %q, %v", b.String(), err)
	}
}

// YAML must say the same as JSON, whatever is in the names.
func TestYAMLIsTheJSON(t *testing.T) {
	odd := list()
	odd.OOMs[0].Namespace, odd.OOMs[0].Pod, odd.OOMs[0].Container = "null", "0x10", "yes: [no]"
	var b bytes.Buffer
	if err := WriteOOMs(&b, odd, YAML); err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := yaml.Unmarshal(b.Bytes(), &plain); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	var got exporter.OOMList
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(odd, &got); diff != "" {
		t.Errorf("JSON to YAML and back (-want +got):\n%s", diff)
	}
}

func TestGet(t *testing.T) {
	var asked *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Clone(t.Context())
		switch r.URL.Query().Get("pod") {
		case "refused":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"there is no such thing"}`))
		case "unauthorized", "forbidden", "absent", "broken":
			w.WriteHeader(map[string]int{"unauthorized": 401, "forbidden": 403, "absent": 404, "broken": 500}[r.URL.Query().Get("pod")])
		case "other":
			_, _ = w.Write([]byte("<html>"))
		default:
			_, _ = w.Write([]byte(`{"ooms":[{"id":7}],"matching":9}`))
		}
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{URL: server.URL + "/proxied/", TokenFile: token})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.OOMs(t.Context(), RecordQuery{Limit: 3, Namespace: "a b", Since: "1h"})
	if err != nil || got.Matching != 9 || len(got.OOMs) != 1 || got.OOMs[0].ID != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := "/proxied/api/v1/ooms?limit=3&namespace=a+b&since=1h"; asked.URL.String() != want || asked.Header.Get("Authorization") != "Bearer secret" {
		t.Errorf("asked for %s with %v, want %s", asked.URL, asked.Header, want)
	}
	for pod, want := range map[string]string{
		"refused": "there is no such thing", "unauthorized": "--token-file", "forbidden": "--web.auth", "absent": "no such page",
		"broken": "500", "other": "does not answer as slicewatch does",
	} {
		if _, err := c.OOMs(t.Context(), RecordQuery{Pod: pod}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", pod, err, want)
		}
	}
	server.Close()
	if _, err := c.OOMs(t.Context(), RecordQuery{}); err == nil || !strings.Contains(err.Error(), "no agent answers at http://127.0.0.1") {
		t.Errorf("without a server: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, wrong := range []string{"localhost:9779", "ftp://x", "http://", ":", ""} {
		if _, err := New(Config{URL: wrong}); err == nil {
			t.Errorf("the URL %q is taken", wrong)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for _, cfg := range []Config{{URL: "http://x", TokenFile: missing}, {URL: "http://x", CAFile: missing}} {
		if _, err := New(cfg); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing file: %v", err)
		}
	}
}
