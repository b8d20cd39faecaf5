// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// running starts the server and returns its base URL. The server ends with
// the test, and its end is checked.
func running(t *testing.T, server *Server) string {
	t.Helper()
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	address := server.Addresses()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	return "http://" + address
}

func fetch(t *testing.T, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServerServes(t *testing.T) {
	base := running(t, newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}}))
	for path, want := range map[string]struct {
		status int
		part   string
	}{
		"/":                 {http.StatusOK, "metrics/cadvisor"},
		"/metrics":          {http.StatusOK, "slicewatch_container_info"},
		"/metrics/cadvisor": {http.StatusOK, "container_spec_cpu_shares"},
		"/-/healthy":        {http.StatusOK, "healthy"},
		"/-/ready":          {http.StatusOK, "ready"},
		"/nothing":          {http.StatusNotFound, "not found"},
		"/debug/pprof/":     {http.StatusNotFound, "not found"},
	} {
		if status, body := fetch(t, request(t, base+path)); status != want.status || !strings.Contains(body, want.part) {
			t.Errorf("%s: %d %.200q, want %d and %q", path, status, body, want.status, want.part)
		}
	}
}

func TestServerListensOnSeveralAddresses(t *testing.T) {
	server := newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, PProf: true})
	running(t, server)
	for _, address := range server.Addresses() {
		if status, _ := fetch(t, request(t, "http://"+address.String()+"/debug/pprof/")); status != http.StatusOK {
			t.Errorf("%s: status %d", address, status)
		}
	}
}

func TestReady(t *testing.T) {
	store := snapshot.NewStore()
	reason := "the kubepods cgroup is missing"
	handler := newTestServer(t, ServerConfig{Store: store, Ready: func() (bool, string) { return reason == "", reason }}).Handler()
	if response := get(handler, "/metrics", nil); response.Code != http.StatusOK || !strings.Contains(response.Body.String(), nameBuildInfo) {
		t.Errorf("scrape before the first snapshot: status %d", response.Code)
	}
	check := func(status int, part string) {
		t.Helper()
		if response := get(handler, "/-/ready", nil); response.Code != status || !strings.Contains(response.Body.String(), part) {
			t.Errorf("ready: %d %q, want %d and %q", response.Code, response.Body, status, part)
		}
	}
	check(http.StatusServiceUnavailable, "first sweep")
	publish(store, fullSnapshot())
	check(http.StatusServiceUnavailable, reason)
	reason = ""
	check(http.StatusOK, "ready")
}

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	server := newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0", address}})
	err = server.Listen()
	if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "--web.listen-address") {
		t.Errorf("error %v, want the address and the flag", err)
	}
	if len(server.Addresses()) != 0 {
		t.Error("the free address is still held")
	}
	if err := newTestServer(t, ServerConfig{}).Listen(); err == nil || !strings.Contains(err.Error(), "--web.listen-address") {
		t.Errorf("without an address: %v", err)
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadWebConfig(t *testing.T) {
	for name, path := range map[string]string{
		"missing":     filepath.Join(t.TempDir(), "missing.yml"),
		"not YAML":    writeFile(t, "{"),
		"unknown key": writeFile(t, "tls: {}\n"),
		"no such key": writeFile(t, "tls_server_config: {cert_file: nowhere.crt, key_file: nowhere.key}\n"),
	} {
		err := newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}, WebConfigFile: path}).Listen()
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one that names %s", name, err, path)
		}
	}
}

func TestBasicAuth(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, fmt.Sprintf("basic_auth_users:\n  scraper: %s\n", hash))
	base := running(t, newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}, WebConfigFile: config}))
	without := request(t, base+"/metrics")
	if status, _ := fetch(t, without); status != http.StatusUnauthorized {
		t.Errorf("without a password: status %d", status)
	}
	with := request(t, base+"/metrics")
	with.SetBasicAuth("scraper", "secret")
	if status, _ := fetch(t, with); status != http.StatusOK {
		t.Errorf("with the password: status %d", status)
	}
}

func TestListenCanBeUndone(t *testing.T) {
	server := newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}})
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	address := server.Addresses()[0].String()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	_ = again.Close()
}
