// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
)

// TestNamespaceBeingDeleted needs no cluster: one of the same name goes away
// while a test wants to make it, and all that is in it does.
func TestNamespaceBeingDeleted(t *testing.T) {
	asked := 0
	made := false
	answer := func(w http.ResponseWriter, status int, object any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(object); err != nil {
			t.Error(err)
		}
	}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /api/v1/namespaces", func(w http.ResponseWriter, _ *http.Request) {
		asked++
		if made = asked > 1; made {
			answer(w, http.StatusCreated, corev1.Namespace{})
			return
		}
		answer(w, http.StatusConflict, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonAlreadyExists, Code: http.StatusConflict})
	})
	routes.HandleFunc("GET /api/v1/namespaces/shop", func(w http.ResponseWriter, _ *http.Request) {
		phase := corev1.NamespaceTerminating
		if made {
			phase = corev1.NamespaceActive
		}
		answer(w, http.StatusOK, corev1.Namespace{Status: corev1.NamespaceStatus{Phase: phase}})
	})
	routes.HandleFunc("GET /api/v1/namespaces/shop/serviceaccounts/default", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, corev1.ServiceAccount{})
	})
	server := httptest.NewServer(routes)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Cluster: &cluster.Cluster{API: client}}
	s.makeNamespace(t, "shop", nil)
	if !made {
		t.Error("the namespace that is being deleted was taken for a new one")
	}
}
