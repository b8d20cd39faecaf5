// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
)

// serverName is what the agents' certificate is for: pods come with addresses
// that nobody knows before.
const serverName = release + "." + release + ".svc"

const webConfig = `tls_server_config: {cert_file: tls.crt, key_file: tls.key}
`

// secure returns the values that the agent's port is protected by.
func secure() string {
	return fmt.Sprintf(`
web:
  auth: kubernetes
  audiences: [%s]
  cacheTime: %s
  configSecret: slicewatch-web
  scheme: https
rbac:
  readers: [{name: prometheus, namespace: %s}]
`, audience, cacheTime, monitoring)
}

// healthPort is the chart's default with a configSecret.
const healthPort = 9780

// TestAdoption is an operator's way: helm install, a Prometheus with a token,
// alerts, and helm uninstall.
func TestAdoption(t *testing.T) {
	s := open(t)
	s.startTroubles(t)
	s.makeNamespace(t, monitoring, nil)
	s.account(t, "prometheus")
	s.importImage(t)
	authority, client := s.makeCertificate(t)
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(secure()), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := s.install(t, "--values", values)
	agent, health := s.reader(pod, agentPort, client), s.reader(pod, healthPort, nil)
	p := s.startPrometheus(t, agent, authority, s.token(t, "prometheus", audience))
	t.Run("scrapes", func(t *testing.T) {
		await(t, "Prometheus to have scraped the agent", func(ctx context.Context) error {
			series, err := p.samples(ctx, `slicewatch_container_info{node!=""}`)
			if err == nil && len(series) < 3 {
				err = fmt.Errorf("%d containers", len(series))
			}
			return err
		})
	})
	t.Run("tokens", func(t *testing.T) { s.checkTokens(t, agent, health) })
	t.Run("kill alert", p.checkKillAlert)
	t.Run("throttled alert", p.checkThrottledAlert)
	t.Run("API server away", func(t *testing.T) { s.checkWithoutAPIServer(t, agent, health) })
	t.Run("uninstall", s.checkUninstall)
}

// makeCertificate gives the agent a certificate in a Secret, and returns the
// file of its authority and a configuration that trusts it.
func (s *stage) makeCertificate(t *testing.T) (authority string, client *tls.Config) {
	t.Helper()
	issuer, err := pki.NewAuthority(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := issuer.Server("agent", serverName)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "slicewatch-web"},
		Data:       map[string][]byte{"web.yml": []byte(webConfig)},
	}
	for name, file := range map[string]string{"tls.crt": pair.Certificate, "tls.key": pair.Key} {
		if secret.Data[name], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	secrets := s.API.CoreV1().Secrets(release)
	_ = secrets.Delete(t.Context(), secret.Name, metav1.DeleteOptions{})
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(issuer.CertificateFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content)
	return issuer.CertificateFile(), &tls.Config{RootCAs: pool, ServerName: serverName}
}

// checkUninstall holds that nothing of the release is left in the API server.
func (s *stage) checkUninstall(t *testing.T) {
	if before := s.leftovers(t); len(before) < 6 {
		t.Errorf("before it is uninstalled the release has only %s", strings.Join(before, ", "))
	}
	s.uninstall(t)
	await(t, "the release's objects to be gone", func(context.Context) error {
		if left := s.leftovers(t); len(left) > 0 {
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return nil
	})
}

// leftovers lists everything with the release's label, of every kind that the
// API server has, in all namespaces and in none; what is named after it and
// bound to no namespace; and Helm's own notes.
func (s *stage) leftovers(t *testing.T) []string {
	t.Helper()
	kinds, err := s.API.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	quiet := rest.CopyConfig(s.REST)
	quiet.WarningHandler = rest.NoWarnings{} // of kinds that are deprecated
	client, err := dynamic.NewForConfig(quiet)
	if err != nil {
		t.Fatal(err)
	}
	listable := discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, kinds)
	var left []string
	looked := 0
	for _, group := range listable {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range group.APIResources {
			found, err := client.Resource(version.WithResource(kind.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatalf("list %s: %v", kind.Name, err)
			}
			looked++
			for _, one := range found.Items {
				labels := one.GetLabels()
				if labels["app.kubernetes.io/instance"] == release || labels["owner"] == "helm" ||
					!kind.Namespaced && kind.Name != "namespaces" && strings.HasPrefix(one.GetName(), release) {
					left = append(left, kind.Name+"/"+one.GetName())
				}
			}
		}
	}
	if looked < 30 {
		t.Fatalf("only %d kinds could be listed", looked)
	}
	return left
}
