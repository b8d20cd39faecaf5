// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

// answering returns a client of an API server that has one node, with this
// condition, or none if it is "".
func answering(t *testing.T, ready corev1.ConditionStatus) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ready == "" || r.URL.Path != "/api/v1/nodes/"+node.Name {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: node.Name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestCheckUsable(t *testing.T) {
	for name, test := range map[string]struct {
		asked Config
		ready corev1.ConditionStatus
		want  []string // of the error; none: there is no error
	}{
		"nothing asked":        {Config{}, corev1.ConditionTrue, nil},
		"as asked":             {Config{Arch: "arm64", Driver: DriverSystemd}, corev1.ConditionTrue, nil},
		"another architecture": {Config{Arch: "amd64"}, corev1.ConditionTrue, []string{"arm64", "amd64", "`cluster down`"}},
		"another driver":       {Config{Driver: DriverCgroupfs}, corev1.ConditionTrue, []string{DriverSystemd, DriverCgroupfs, "`cluster down`"}},
		"not ready":            {Config{}, corev1.ConditionFalse, []string{"not Ready", "`cluster down`"}},
		"not heard of":         {Config{}, corev1.ConditionUnknown, []string{"not Ready", "`cluster down`"}},
		"no node":              {Config{}, "", []string{"half started", "`cluster down`"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Cluster{Arch: "arm64", Driver: DriverSystemd, API: answering(t, test.ready)}
			err := c.CheckUsable(t.Context(), test.asked)
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want one with %q", err, want)
				}
			}
		})
	}
}
