// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/exporter"
)

// TestHintsOfSomeAgents asks two agents of which one does not answer: what the other
// says is printed, and the exit status tells that it is not all.
func TestHintsOfSomeAgents(t *testing.T) {
	list, err := json.Marshal(exporter.HintList{Hints: []exporter.ContainerHint{{Namespace: "shop", Pod: "web-a", Container: "app"}}})
	if err != nil {
		t.Fatal(err)
	}
	const pod = `{"metadata":{"name":%q,"namespace":"monitoring"},"spec":{"nodeName":"node-%s"},"status":{"phase":"Running"}}`
	pods := []string{fmt.Sprintf(pod, "a", "a"), fmt.Sprintf(pod, "b", "b")}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/api/v1/pods":
			fmt.Fprintf(w, `{"items":[%s]}`, strings.Join(pods, ","))
		case strings.Contains(r.URL.Path, "http:a:"):
			_, _ = w.Write(list)
		case strings.Contains(r.URL.Path, "http:b:"):
			http.Error(w, "it starts", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, `{"items":[]}`)
		}
	}))
	defer server.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "` + server.URL + `"}}], users: [{name: u, user: {token: mine}}],
contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func() (status int, stdout, stderr string) {
		var out, complaints bytes.Buffer
		status = run(t.Context(), invocation{args: []string{"hints", "--cluster", "--kubeconfig", kubeconfig}, stdout: &out, stderr: &complaints})
		return status, out.String(), complaints.String()
	}
	status, stdout, stderr := ask()
	if status != exitFailed || !strings.Contains(stdout, "web-a") || !strings.Contains(stderr, "not of all nodes") || !strings.Contains(stderr, "agent b on node-b") {
		t.Errorf("exit status %d\n%s\n%s", status, stdout, stderr)
	}
	pods = pods[:1]
	if status, stdout, stderr = ask(); status != exitOK || !strings.Contains(stdout, "web-a") || stderr != "" {
		t.Errorf("all answer: exit status %d\n%s\n%s", status, stdout, stderr)
	}
}
