// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer speaks list and watch of pods as a kube-apiserver does, in JSON.
type apiServer struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	version  int
	pods     map[string]*corev1.Pod // by UID
	events   []watchEvent           // everything that happened, for watches that begin later
	changed  chan struct{}          // closed at the next change
	requests []*http.Request
	status   int  // if not 0, the answer to everything
	listOnly bool // forbids to watch
	breaks   chan struct{}
}

type watchEvent struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

// hangUp as the status is a proxy that takes connections for a server that is
// away.
const hangUp = -1

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{t: t, version: 1, pods: map[string]*corev1.Pod{}, changed: make(chan struct{}), breaks: make(chan struct{})}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() {
		a.breakStreams()
		a.Close()
	})
	return a
}

func (a *apiServer) change(kind string, pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	pod = pod.DeepCopy()
	pod.ResourceVersion = strconv.Itoa(a.version)
	if kind == "DELETED" {
		delete(a.pods, string(pod.UID))
	} else {
		a.pods[string(pod.UID)] = pod
	}
	a.events = append(a.events, watchEvent{kind, pod})
	close(a.changed)
	a.changed = make(chan struct{})
}

// set changes how the server answers from now on.
func (a *apiServer) set(change func(*apiServer)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// breakStreams ends the watches that are open now.
func (a *apiServer) breakStreams() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.breaks)
	a.breaks = make(chan struct{})
}

// seen returns the requests so far, as "LIST" or "WATCH" and the whole URL.
func (a *apiServer) seen() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*http.Request(nil), a.requests...)
}

func (a *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	status, listOnly := a.status, a.listOnly
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch {
	case status == hangUp:
		// The server closes the connection without an answer.
		panic(http.ErrAbortHandler)
	case status != 0:
		a.refuse(w, status)
	case r.Method != http.MethodGet || r.URL.Path != "/api/v1/pods":
		a.refuse(w, http.StatusNotFound)
	case query.Get("watch") == "":
		a.list(w)
	case listOnly:
		a.refuse(w, http.StatusForbidden)
	default:
		a.watch(w, r)
	}
}

func (a *apiServer) refuse(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusUnauthorized: metav1.StatusReasonUnauthorized,
	}
	a.write(w, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reasons[code], Message: fmt.Sprintf("cannot list resource \"pods\": %d", code),
	})
}

func (a *apiServer) list(w http.ResponseWriter) {
	a.mu.Lock()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	list.ResourceVersion = strconv.Itoa(a.version)
	for _, pod := range a.pods {
		list.Items = append(list.Items, *pod)
	}
	a.mu.Unlock()
	a.write(w, list)
}

func (a *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	next := len(a.events)
	breaks := a.breaks
	if from, err := strconv.Atoi(r.URL.Query().Get("resourceVersion")); err == nil {
		next = from - 1 // version 1 is before the first event
	}
	a.mu.Unlock()
	w.(http.Flusher).Flush()
	for {
		a.mu.Lock()
		events, changed := a.events[next:], a.changed
		next = len(a.events)
		a.mu.Unlock()
		for _, event := range events {
			a.write(w, typed(event))
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-breaks:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func typed(event watchEvent) watchEvent {
	pod := event.Object.(*corev1.Pod).DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	event.Object = pod
	return event
}

func (a *apiServer) write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		a.t.Logf("the client left: %v", err)
	}
}
