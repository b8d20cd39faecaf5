// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Sink that remembers, and what was reported.
type recorder struct {
	mu      sync.Mutex
	pods    map[string]Pod
	up      bool
	reason  string
	reports []string
}

func (r *recorder) SetPod(p Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[p.UID] = p
}

func (r *recorder) DeletePod(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pods, uid)
}

func (r *recorder) report(up bool, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.reason = up, reason
	r.reports = append(r.reports, fmt.Sprint(up, " ", reason))
}

// wait waits until ok, which is called under the recorder's lock.
func (r *recorder) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		done := ok()
		r.mu.Unlock()
		if done {
			return
		}
	}
	t.Fatalf("waited in vain for: %s\nreports:\n%s", what, strings.Join(r.reports, "\n"))
}

func (r *recorder) waitReason(t *testing.T, parts ...string) {
	t.Helper()
	r.wait(t, strings.Join(parts, ", "), func() bool {
		for _, part := range parts {
			if !strings.Contains(r.reason, part) {
				return false
			}
		}
		return !r.up
	})
}

func (r *recorder) waitUp(t *testing.T) {
	t.Helper()
	r.wait(t, "the source to be up", func() bool { return r.up })
}

// follow runs a source against the server until the test ends.
func follow(t *testing.T, restConfig *rest.Config) *recorder {
	t.Helper()
	r := &recorder{pods: map[string]Pod{}}
	s := New(Config{NodeName: "node-a", Logger: slog.New(slog.DiscardHandler), Report: r.report}, r)
	s.load = func() (*rest.Config, error) { return restConfig, nil }
	run(t, s)
	return r
}

func run(t *testing.T, s *Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func pod(name, uid string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = "default", name, types.UID(uid)
	p.Spec.NodeName = "node-a"
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "busybox", Env: []corev1.EnvVar{{Name: "SECRET", Value: "x"}}}}
	return p
}

func names(r *recorder) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]string{}
	for uid, p := range r.pods {
		names[uid] = p.Name
	}
	return names
}

func TestFollow500Pods(t *testing.T) {
	server := newAPIServer(t)
	want := map[string]string{}
	for i := range 500 {
		uid := fmt.Sprintf("uid-%d", i)
		server.change("ADDED", pod(fmt.Sprintf("pod-%d", i), uid))
		want[uid] = fmt.Sprintf("pod-%d", i)
	}
	server.Start()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitUp(t)
	if diff := cmp.Diff(want, names(r)); diff != "" {
		t.Errorf("pods once up (-want +got):\n%s", diff)
	}

	late := pod(strings.Repeat("n", 253), "late")
	server.change("ADDED", late)
	r.wait(t, "a new pod", func() bool { return r.pods["late"].Name == late.Name })
	late.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://abc"}}
	server.change("MODIFIED", late)
	r.wait(t, "its container's id", func() bool { return r.pods["late"].Containers[0].ID == "abc" })
	server.change("DELETED", late)
	r.wait(t, "its end", func() bool { _, there := r.pods["late"]; return !there })

	checkRequests(t, server)
}

// checkRequests holds the load that the agent may put on an API server: one
// list, which it answers from its cache, and one watch.
func checkRequests(t *testing.T, server *apiServer) {
	t.Helper()
	var got []string
	for _, request := range server.seen() {
		query := request.URL.Query()
		verb := "list"
		if query.Get("watch") != "" {
			verb = "watch"
		}
		if query.Get("sendInitialEvents") != "" {
			verb = "streaming watch"
		}
		if version := query.Get("resourceVersion"); verb == "list" && version != "0" {
			t.Errorf("list of resource version %q, want 0, which the API server has in its cache", version)
		}
		got = append(got, verb)
		if selector := query.Get("fieldSelector"); selector != "spec.nodeName=node-a" {
			t.Errorf("%s with fieldSelector %q", verb, selector)
		}
		if accept := request.Header.Get("Accept"); !strings.HasPrefix(accept, "application/vnd.kubernetes.protobuf") {
			t.Errorf("%s accepts %q", verb, accept)
		}
	}
	if diff := cmp.Diff([]string{"list", "watch"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		status int
		parts  []string
	}{
		{http.StatusForbidden, []string{"get, list, watch on pods", `apiGroups: [""]`, "ClusterRoleBinding"}},
		{http.StatusUnauthorized, []string{"credentials", "expired", "token is mounted"}},
		{http.StatusInternalServerError, []string{"refuses"}},
		{http.StatusNotFound, []string{"refuses"}},
	}
	for _, tt := range tests {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			t.Parallel()
			server := newAPIServer(t)
			server.status = tt.status
			server.change("ADDED", pod("p", "uid"))
			server.Start()
			r := follow(t, &rest.Config{Host: server.URL})
			r.waitReason(t, append(tt.parts, server.URL)...)
			server.set(func(a *apiServer) { a.status = 0 })
			r.waitUp(t)
			if diff := cmp.Diff(map[string]string{"uid": "p"}, names(r)); diff != "" {
				t.Errorf("pods once up (-want +got):\n%s", diff)
			}
		})
	}
}

// A role that lacks one verb must not make the source come and go.
func TestMayListNotWatch(t *testing.T) {
	server := newAPIServer(t)
	server.listOnly = true
	server.change("ADDED", pod("p", "uid"))
	server.Start()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitReason(t, "get, list, watch on pods")
	r.wait(t, "several attempts", func() bool { return len(r.reports) > 2 })
	r.mu.Lock()
	for _, report := range r.reports {
		if report != r.reports[0] {
			t.Errorf("reported %q, then %q", r.reports[0], report)
		}
	}
	r.mu.Unlock()
	server.set(func(a *apiServer) { a.listOnly = false })
	r.waitUp(t)
}

func TestUnknownAuthority(t *testing.T) {
	server := newAPIServer(t)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitReason(t, "unknown authority", "kube-root-ca.crt", server.URL)
}

func TestNotAnAPIServer(t *testing.T) {
	server := newAPIServer(t)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>It works!</html>")
	})
	server.Start()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitReason(t, "not a Kubernetes API server", server.URL)
}

func TestRefusedThenBack(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	r := follow(t, &rest.Config{Host: "http://" + address})
	r.waitReason(t, "nothing listens at http://"+address)

	server := newAPIServer(t)
	server.change("ADDED", pod("p", "uid"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("the port was taken by somebody else meanwhile: %v", err)
	}
	server.Listener = listener
	server.Start()
	r.waitUp(t)
}

// With the API server gone from the start, the agent must still end at once:
// client-go's own wait would hold it for up to a minute.
func TestEndsWhileRefused(t *testing.T) {
	r := &recorder{pods: map[string]Pod{}}
	s := New(Config{NodeName: "node-a", Logger: slog.New(slog.DiscardHandler), Report: r.report}, r)
	s.load = func() (*rest.Config, error) { return &rest.Config{Host: "http://127.0.0.1:1"}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	r.wait(t, "several attempts", func() bool { return len(r.reports) > 4 })
	cancel()
	<-done
}

func TestStreamBreak(t *testing.T) {
	server := newAPIServer(t)
	server.change("ADDED", pod("db-0", "first"))
	server.change("ADDED", pod("web", "web"))
	server.Start()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitUp(t)

	server.set(func(a *apiServer) { a.status = http.StatusServiceUnavailable })
	server.breakStreams()
	r.waitReason(t, "refuses")
	if diff := cmp.Diff(map[string]string{"first": "db-0", "web": "web"}, names(r)); diff != "" {
		t.Errorf("pods while the API server is away (-want +got):\n%s", diff)
	}

	// A StatefulSet's pod is replaced meanwhile: the same name, another pod.
	server.change("DELETED", pod("db-0", "first"))
	server.change("ADDED", pod("db-0", "second"))
	server.set(func(a *apiServer) { a.status = 0 })
	r.waitUp(t)
	r.wait(t, "the replaced pod", func() bool { _, there := r.pods["second"]; return there })
	if diff := cmp.Diff(map[string]string{"second": "db-0", "web": "web"}, names(r)); diff != "" {
		t.Errorf("pods afterwards (-want +got):\n%s", diff)
	}
}

// client-go takes a watch whose connection ends before the answer for one that
// is over: no error comes of it.
func TestHangUpThenBack(t *testing.T) {
	server := newAPIServer(t)
	server.change("ADDED", pod("web", "web"))
	server.Start()
	r := follow(t, &rest.Config{Host: server.URL})
	r.waitUp(t)
	server.set(func(a *apiServer) { a.status = hangUp })
	server.breakStreams()
	r.waitReason(t, "closed before an answer")
	if diff := cmp.Diff(map[string]string{"web": "web"}, names(r)); diff != "" {
		t.Errorf("pods while the API server is away (-want +got):\n%s", diff)
	}
	server.set(func(a *apiServer) { a.status = 0 })
	r.waitUp(t)
}

// The informer reports a pod that was replaced while it did not watch as one
// that changed.
func TestReplacedUnderTheSameName(t *testing.T) {
	r := &recorder{pods: map[string]Pod{}}
	s := New(Config{NodeName: "node-a"}, r)
	s.set(pod("db-0", "first"))
	s.update(pod("db-0", "first"), pod("db-0", "second"))
	if diff := cmp.Diff(map[string]string{"second": "db-0"}, names(r)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}
