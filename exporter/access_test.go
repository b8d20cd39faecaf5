// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// closed lets nobody through.
func closed(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "closed", http.StatusForbidden) })
}

// passwords is a web configuration with a user called scraper.
func passwords(t *testing.T) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, fmt.Sprintf("basic_auth_users:\n  scraper: %s\n", hash))
}

func TestGuardLeavesTheHealthOpen(t *testing.T) {
	handler := newTestServer(t, ServerConfig{Guard: closed, PProf: true}).Handler()
	for path, want := range map[string]int{
		"/-/healthy": http.StatusOK, "/-/ready": http.StatusOK,
		"/": http.StatusForbidden, "/metrics": http.StatusForbidden, "/metrics/cadvisor": http.StatusForbidden,
		"/debug/pprof/": http.StatusForbidden, "/debug/pprof/heap": http.StatusForbidden, "/nothing": http.StatusForbidden,
		"/-/healthy/": http.StatusForbidden, "/-/": http.StatusForbidden,
	} {
		if response := get(handler, path, nil); response.Code != want {
			t.Errorf("%s: status %d, want %d", path, response.Code, want)
		}
	}
	// The mux sends these to their clean path and serves nothing by itself.
	for _, path := range []string{"//metrics", "/-/healthy/../../metrics", "/-/./healthy"} {
		response := get(handler, path, nil)
		if response.Code/100 != 3 && response.Code != http.StatusForbidden || strings.Contains(response.Body.String(), "slicewatch_") {
			t.Errorf("%s: status %d %.100q", path, response.Code, response.Body)
		}
	}
}

func TestGuardAndPasswordsExcludeEachOther(t *testing.T) {
	config := ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}, Guard: closed, WebConfigFile: passwords(t)}
	err := newTestServer(t, config).Listen()
	if err == nil || !strings.Contains(err.Error(), "--web.auth=kubernetes") || !strings.Contains(err.Error(), config.WebConfigFile) {
		t.Errorf("error %v, want one that names the file and the flag", err)
	}
	config.WebConfigFile = writeFile(t, "http_server_config: {headers: {X-Frame-Options: deny}}\n")
	base := running(t, newTestServer(t, config))
	if status, _ := fetch(t, request(t, base+"/metrics")); status != http.StatusForbidden {
		t.Errorf("with a web configuration beside the guard: status %d", status)
	}
}

func TestHealthOnAnAddressOfItsOwn(t *testing.T) {
	server := newTestServer(t, ServerConfig{
		ListenAddresses: []string{"127.0.0.1:0"}, HealthAddress: "127.0.0.1:0", WebConfigFile: passwords(t),
	})
	base := running(t, server)
	if status, _ := fetch(t, request(t, base+"/-/healthy")); status != http.StatusUnauthorized {
		t.Errorf("the main address: status %d: the toolkit's passwords cover everything there", status)
	}
	health := "http://" + server.health.Addr().String()
	for path, want := range map[string]int{
		"/-/healthy": http.StatusOK, "/-/ready": http.StatusOK, "/metrics": http.StatusNotFound, "/": http.StatusNotFound,
	} {
		if status, _ := fetch(t, request(t, health+path)); status != want {
			t.Errorf("%s: status %d, want %d", path, status, want)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	server := newTestServer(t, ServerConfig{ListenAddresses: []string{"127.0.0.1:0"}})
	base := running(t, server)
	address := strings.TrimPrefix(base, "http://")
	dial := func() net.Conn {
		connection, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		return connection
	}
	for range maxConnections {
		dial()
	}
	one := dial()
	if n, err := one.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one more connection: read %d bytes, error %v; want it closed", n, err)
	}
	if body := get(server.Handler(), "/metrics", nil).Body.String(); !strings.Contains(body, nameConnsRefused+" 1\n") {
		t.Error("the refused connection is not counted")
	}
}
