// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

// request is what the audit log says of one request (audit.k8s.io/v1 Event).
type request struct {
	AuditID    string
	Stage      string
	Verb       string
	RequestURI string
	User       struct {
		Username string
		Extra    map[string][]string
	}
	RequestReceivedTimestamp time.Time
}

// podOf returns which pod's token came with the request.
func (r request) podOf() string {
	if uids := r.User.Extra["authentication.kubernetes.io/pod-uid"]; len(uids) == 1 {
		return uids[0]
	}
	return ""
}

// TestAPILoad checks that an agent asks for its own node's pods, by one list
// or streaming watch, and for nothing else.
func TestAPILoad(t *testing.T) {
	c, pod, agent := open(t)
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if exists, _ := sourceUp(s, "kubernetes"); !exists {
		lack(t, "this agent does not know the API server: slicewatch_source_up has no source=kubernetes")
	}
	var lists, watches int
	var first, last time.Time
	for _, r := range requestsOf(t, c, string(pod.UID)) {
		address, err := url.Parse(r.RequestURI)
		if err != nil {
			t.Fatal(err)
		}
		query := address.Query()
		if address.Path != "/api/v1/pods" || query.Get("fieldSelector") != "spec.nodeName="+node.Name {
			t.Errorf("the agent asked for %s %s", r.Verb, r.RequestURI)
		}
		switch r.Verb {
		case "list":
			lists++
		case "watch":
			watches++
		default:
			t.Errorf("the agent asked for %s %s", r.Verb, r.RequestURI)
		}
		if first.IsZero() {
			first = r.RequestReceivedTimestamp
		}
		last = r.RequestReceivedTimestamp
	}
	// A watch ends by itself after five minutes at the earliest.
	allowed := 1 + int(time.Since(first)/(5*time.Minute))
	t.Logf("%d lists, %d watches within %s", lists, watches, last.Sub(first))
	if lists > 1 || watches < 1 || watches > allowed {
		t.Errorf("%d lists and %d watches within %s, want at most 1 and 1 to %d", lists, watches, last.Sub(first), allowed)
	}
}

// requestsOf returns what the agent of one pod asked for, each once.
func requestsOf(t *testing.T, c *cluster.Cluster, podUID string) []request {
	t.Helper()
	file, err := os.Open(c.Plane.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	user := fmt.Sprintf("system:serviceaccount:%s:slicewatch", install.Namespace)
	seen := map[string]bool{}
	var all []request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("parse the audit log: %v", err)
		}
		if r.User.Username == user && r.podOf() == podUID && !seen[r.AuditID] {
			seen[r.AuditID] = true
			all = append(all, r)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("read the audit log: %v", err)
	}
	return all
}
