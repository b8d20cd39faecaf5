// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Sink that remembers, and what was reported.
type recorder struct {
	mu         sync.Mutex
	wanted     []string
	containers map[string]Container
	connected  int
	up         bool
	reason     string
}

func (r *recorder) SetContainer(c Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[c.ID] = c
}

func (r *recorder) DeleteContainer(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
}

func (r *recorder) Connected() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connected++
	return r.wanted
}

func (r *recorder) report(up bool, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.reason = up, reason
}

// wait waits until ok, which is called under the recorder's lock.
func (r *recorder) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		r.mu.Lock()
		done := ok()
		r.mu.Unlock()
		if done {
			return
		}
	}
	t.Fatalf("waited in vain for: %s (last reason: %s)", what, r.reason)
}

func (r *recorder) waitUp(t *testing.T) {
	t.Helper()
	r.wait(t, "the source to be up", func() bool { return r.up })
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

func (r *recorder) all() map[string]Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.containers)
}

// follow runs a source against the socket until the test ends.
func follow(t *testing.T, socket string, wanted ...string) (*Source, *recorder) {
	t.Helper()
	r := &recorder{containers: map[string]Container{}, wanted: wanted}
	s := New(Config{Address: socket, Logger: slog.New(slog.DiscardHandler), Report: r.report}, r)
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
	return s, r
}

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "c.sock")
}

func labelled(id, kind, name string) *containersapi.Container {
	labels := map[string]string{
		labelKind: kind, labelNamespace: "shop", labelPod: "web-0", labelPodUID: "uid-1", "app": "web",
	}
	if name != "" {
		labels[labelContainer] = name
	}
	return &containersapi.Container{ID: id, Image: "img:" + id, Labels: labels}
}

func TestNames(t *testing.T) {
	socket := socketPath(t)
	fake := startContainerd(t, socket)
	fake.add(labelled("old", kindContainer, "main"))
	fake.add(labelled("pause", kindSandbox, ""))
	fake.add(labelled("unasked", kindContainer, "other"))
	fake.add(&containersapi.Container{ID: "nerdctl", Image: "x"})
	fake.add(&containersapi.Container{ID: "crictl", Image: "x", Labels: map[string]string{labelKind: kindContainer}})
	fake.add(labelled("nameless", kindContainer, ""))

	s, r := follow(t, socket, "old", "pause", "nerdctl", "crictl", "nameless", "gone")
	r.waitUp(t)
	want := map[string]Container{
		"old":   {ID: "old", Namespace: "shop", Pod: "web-0", PodUID: "uid-1", Name: "main", Image: "img:old"},
		"pause": {ID: "pause", Sandbox: true, Namespace: "shop", Pod: "web-0", PodUID: "uid-1", Image: "img:pause"},
	}
	if diff := cmp.Diff(want, r.all()); diff != "" {
		t.Errorf("once up (-want +got):\n%s", diff)
	}

	<-fake.ready
	fake.add(labelled("new", kindContainer, "main"))
	r.wait(t, "a container that starts", func() bool { return r.containers["new"].Name == "main" })
	fake.remove("old")
	r.wait(t, "a container that is deleted", func() bool { _, there := r.containers["old"]; return !there })
	s.Lookup("unasked")
	r.wait(t, "a container that is asked for", func() bool { return r.containers["unasked"].Name == "other" })

	wantFilters := []string{`namespace=="k8s.io",topic=="/containers/create"`, `namespace=="k8s.io",topic=="/containers/delete"`}
	if diff := cmp.Diff(wantFilters, fake.filters); diff != "" {
		t.Errorf("event filters (-want +got):\n%s", diff)
	}
}

func TestReconnects(t *testing.T) {
	socket := socketPath(t)
	first := startContainerd(t, socket)
	first.add(labelled("a", kindContainer, "main"))
	_, r := follow(t, socket, "a", "b")
	r.waitUp(t)
	first.server.Stop()
	r.wait(t, "the source to be down", func() bool { return !r.up })
	if diff := cmp.Diff([]string{"a"}, keys(r.all())); diff != "" {
		t.Errorf("names while containerd is away (-want +got):\n%s", diff)
	}

	os.Remove(socket)
	second := startContainerd(t, socket)
	second.add(labelled("b", kindContainer, "main"))
	r.waitUp(t)
	r.wait(t, "what was made meanwhile", func() bool { return r.containers["b"].Name == "main" })
}

// More lookups than fit into the queue end in one turn over all that is wanted.
func TestTooManyLookups(t *testing.T) {
	socket := socketPath(t)
	r := &recorder{containers: map[string]Container{}}
	s := New(Config{Address: socket, Logger: slog.New(slog.DiscardHandler), Report: r.report}, r)
	for i := range 3 * maxLookups {
		id := fmt.Sprint("id-", i)
		s.Lookup(id)
		r.wanted = append(r.wanted, id)
	}
	if !s.overflowed.Load() || len(s.lookups) != maxLookups {
		t.Fatalf("overflowed %v with %d queued, want true with %d", s.overflowed.Load(), len(s.lookups), maxLookups)
	}
	fake := startContainerd(t, socket)
	for _, id := range r.wanted {
		fake.add(labelled(id, kindContainer, "main"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	r.waitUp(t)
	if got := len(r.all()); got != 3*maxLookups {
		t.Errorf("%d named, want %d", got, 3*maxLookups)
	}
	for range 3 * maxLookups {
		s.Lookup("id-0")
	}
	r.wait(t, "a turn over all that is wanted", func() bool { return r.connected > 1 })
}

func TestReasons(t *testing.T) {
	absent := socketPath(t)
	file := socketPath(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead := socketPath(t)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	otherGRPC := socketPath(t)
	serve(t, grpc.NewServer(), otherGRPC)
	web := socketPath(t)
	serveHTTP(t, web)

	tests := []struct {
		name, socket string
		parts        []string
	}{
		{"absent", absent, []string{"there is no socket", "--containerd.address", "--containerd=off"}},
		{"a file", file, []string{"is not a socket", "--containerd.address"}},
		{"a directory", filepath.Dir(file), []string{"is not a socket"}},
		{"nobody listens", dead, []string{"nobody listens", "containerd is down"}},
		{"another gRPC server", otherGRPC, []string{"is not containerd", "--containerd.address"}},
		{"no gRPC server", web, []string{"is not containerd"}},
		{"a name too long", "/" + strings.Repeat("x", 200), []string{"xxx"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, r := follow(t, tt.socket)
			r.waitReason(t, append(tt.parts, tt.socket)...)
		})
	}
}

// A containerd that hangs or is stopped at this moment is none the less one.
func TestNoAnswerIsNotAnother(t *testing.T) {
	tests := []struct {
		name, part string
		take       func(net.Conn)
	}{
		{"hangs", "does not answer in time", func(net.Conn) {}},
		{"closes", "was lost", func(c net.Conn) { c.Close() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := socketPath(t)
			accept(t, socket, tt.take)
			s := New(Config{Address: socket, Logger: slog.New(slog.DiscardHandler)}, nil)
			s.answerTime = 50 * time.Millisecond
			got := explain(s.session(t.Context()), socket)
			if strings.Contains(got, "is not containerd") || !strings.Contains(got, tt.part) {
				t.Errorf("reason %q, want %q", got, tt.part)
			}
		})
	}
}

// accept hands each connection to take, and keeps it until the test ends.
func accept(t *testing.T, socket string, take func(net.Conn)) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var taken []net.Conn
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			taken = append(taken, c)
			take(c)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
		for _, c := range taken {
			c.Close()
		}
	})
}

// Root may open every socket, so that the error is made by hand.
func TestReasonNotPermitted(t *testing.T) {
	err := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	got := explain(err, "/run/c.sock")
	for _, part := range []string{"/run/c.sock may not be opened", "root", "--containerd=off"} {
		if !strings.Contains(got, part) {
			t.Errorf("explain(%v) = %q, want %q in it", err, got, part)
		}
	}
}

func serveHTTP(t *testing.T, socket string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

func keys(m map[string]Container) []string {
	var all []string
	for key := range m {
		all = append(all, key)
	}
	return all
}
