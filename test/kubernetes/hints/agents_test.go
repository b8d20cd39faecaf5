// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hints

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slicewatch/slicewatch/exporter"
)

// agent is a made-up agent that answers with hints, whatever it is asked for.
func agent(t *testing.T, hints func() []exporter.ContainerHint) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/hints" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(exporter.HintList{Hints: hints()})
	}))
	t.Cleanup(server.Close)
	return server
}

// network stands for the nodes' network: the API server reaches pods by CONNECT,
// and gets to the agent that has the pod's address.
func (p *plane) network(agents map[string]*httptest.Server) {
	p.t.Helper()
	credentials := filepath.Join(filepath.Dir(p.Plane.Kubeconfig()), "kube-apiserver")
	pair, err := tls.LoadX509KeyPair(credentials+".crt", credentials+".key")
	if err != nil {
		p.t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.Plane.Ports.Node), &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, ok := agents[r.Host]
		if r.Method != http.MethodConnect || !ok {
			http.Error(w, "there is nothing at "+r.Host, http.StatusBadGateway)
			return
		}
		pass(w, to.Listener.Addr().String())
	})}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(listener) })
	p.t.Cleanup(func() { server.Close(); done.Wait() })
}

// pass joins a connection with one to an address.
func pass(w http.ResponseWriter, address string) {
	outer, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer outer.Close()
	inner, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer inner.Close()
	if _, err := io.WriteString(inner, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var sent sync.WaitGroup
	sent.Go(func() { _, _ = io.Copy(outer, inner) })
	_, _ = io.Copy(inner, outer)
	inner.Close()
	sent.Wait()
}
