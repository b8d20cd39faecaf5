// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// api lists and watches pods as a kube-apiserver does, in JSON, without streaming
// lists.
type api struct {
	mu      sync.Mutex
	version int
	pods    map[string]*corev1.Pod // by UID
	events  []event                // events[i] led to version i+2
	changed chan struct{}          // closed at the next change
}

type event struct {
	Type   string      `json:"type"`
	Object *corev1.Pod `json:"object"`
}

func newAPI() *api {
	return &api{version: 1, pods: map[string]*corev1.Pod{}, changed: make(chan struct{})}
}

// update makes pods, by UID, the state of the cluster.
func (a *api) update(pods map[string]*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.version
	for uid, pod := range pods {
		old, known := a.pods[uid]
		switch {
		case !known:
			a.happened("ADDED", pod)
		default:
			pod.ResourceVersion = old.ResourceVersion
			if reflect.DeepEqual(old, pod) {
				continue
			}
			a.happened("MODIFIED", pod)
		}
		a.pods[uid] = pod
	}
	for uid, pod := range a.pods {
		if pods[uid] == nil {
			delete(a.pods, uid)
			a.happened("DELETED", pod.DeepCopy())
		}
	}
	if a.version != before {
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

func (a *api) happened(kind string, pod *corev1.Pod) {
	a.version++
	pod.ResourceVersion = strconv.Itoa(a.version)
	a.events = append(a.events, event{kind, pod})
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch {
	case r.URL.Path != "/api/v1/pods":
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case query.Get("watch") == "":
		a.list(w)
	case query.Get("sendInitialEvents") != "":
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
	default:
		from, err := strconv.Atoi(query.Get("resourceVersion"))
		if err != nil || from < 1 {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		a.watch(w, r, from)
	}
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.WriteHeader(code)
	write(w, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
	})
}

func (a *api) list(w http.ResponseWriter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	list.ResourceVersion = strconv.Itoa(a.version)
	for _, pod := range a.pods {
		list.Items = append(list.Items, *pod)
	}
	write(w, list)
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, from int) {
	flusher, _ := w.(http.Flusher)
	for {
		a.mu.Lock()
		events, changed := a.events[min(from-1, len(a.events)):], a.changed
		a.mu.Unlock()
		for _, e := range events {
			write(w, e)
		}
		from += len(events)
		flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// write gives up on clients that left.
func write(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
