// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigErrors(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const cluster = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'%s}}]\n" +
		"users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
	tests := []struct {
		name, kubeconfig, node string
		parts                  []string
	}{
		{name: "no cluster, no kubeconfig", node: "n", parts: []string{"--kubeconfig", "--kubernetes=off"}},
		{name: "no node name", parts: []string{"--node.name"}},
		{name: "absent", node: "n", kubeconfig: filepath.Join(dir, "absent"), parts: []string{"does not exist", "absent"}},
		{name: "not YAML", node: "n", kubeconfig: write("text", "\t{"), parts: []string{"not valid"}},
		{name: "empty", node: "n", kubeconfig: write("empty", ""), parts: []string{"current-context"}},
		{name: "no current context", node: "n", kubeconfig: write("none", fmt.Sprintf(cluster, "")), parts: []string{"current-context"}},
		{name: "a context that is not there", node: "n", kubeconfig: write("dangling", fmt.Sprintf(cluster, "")+"current-context: other\n"), parts: []string{"not valid", "other"}},
		{name: "a CA that is not there", node: "n", parts: []string{"not valid", "ca.pem"},
			kubeconfig: write("ca", fmt.Sprintf(cluster, ", certificate-authority: /absent/ca.pem")+"current-context: x\n")},
		{name: "a CA that is none", node: "n", parts: []string{"not valid", "PEM"},
			kubeconfig: write("badca", fmt.Sprintf(cluster, ", certificate-authority-data: dGV4dA==")+"current-context: x\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{pods: map[string]Pod{}}
			run(t, New(Config{NodeName: tt.node, Kubeconfig: tt.kubeconfig, Logger: slog.New(slog.DiscardHandler), Report: r.report}, r))
			r.waitReason(t, tt.parts...)
		})
	}
}

// A kubeconfig that is mounted late is found without a restart.
func TestKubeconfigAppears(t *testing.T) {
	server := newAPIServer(t)
	server.change("ADDED", pod("p", "uid"))
	server.Start()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	r := &recorder{pods: map[string]Pod{}}
	run(t, New(Config{NodeName: "node-a", Kubeconfig: path, Logger: slog.New(slog.DiscardHandler), Report: r.report}, r))
	r.waitReason(t, "does not exist")
	writeKubeconfig(t, path, server.URL, nil)
	r.waitUp(t)
}

// A kubeconfig with another cluster's authority is read again once it is right,
// without a restart, as the reason says.
func TestKubeconfigIsRenewed(t *testing.T) {
	server := newAPIServer(t)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.change("ADDED", pod("p", "uid"))
	server.StartTLS()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, path, server.URL, nil)
	r := &recorder{pods: map[string]Pod{}}
	run(t, New(Config{NodeName: "node-a", Kubeconfig: path, Logger: slog.New(slog.DiscardHandler), Report: r.report}, r))
	r.waitReason(t, "unknown authority", "certificate-authority into "+path)
	if err := os.WriteFile(path, []byte("half writ"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "another attempt", func() bool { return len(r.reports) > 2 })
	writeKubeconfig(t, path, server.URL, server.Certificate())
	r.waitUp(t)
	if diff := cmp.Diff(map[string]string{"uid": "p"}, names(r)); diff != "" {
		t.Errorf("pods once up (-want +got):\n%s", diff)
	}
}

func writeKubeconfig(t *testing.T, path, server string, authority *x509.Certificate) {
	t.Helper()
	ca := ""
	if authority != nil {
		ca = ", certificate-authority-data: " + base64.StdEncoding.EncodeToString(
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}))
	}
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + server + "'" + ca + "}}]\n" +
		"users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
