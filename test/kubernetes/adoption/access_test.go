// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// audience is whom tokens for the agent are for.
	audience = "slicewatch"
	// cacheTime is how long the agent remembers a permission; it must have
	// room for an API server that takes its time to stop.
	cacheTime = 40 * time.Second
)

// reader reads what the agent serves, over the node.
type reader struct {
	address, scheme string
	http            http.Client
}

// reader returns one that speaks TLS if there is a configuration for that.
func (s *stage) reader(pod *corev1.Pod, port int, secure *tls.Config) *reader {
	r := &reader{address: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)), scheme: "http"}
	if secure != nil {
		r.scheme = "https"
	}
	r.http = http.Client{
		Transport: &http.Transport{DialContext: s.Node.DialContext, TLSClientConfig: secure, DisableKeepAlives: true},
		Timeout:   time.Minute,
	}
	return r
}

// get returns the status and the body of an answer; token may be empty.
func (r *reader) get(ctx context.Context, path, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.scheme+"://"+r.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := r.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// is returns an error unless the answer has this status.
func (r *reader) is(ctx context.Context, path, token string, want int) error {
	status, body, err := r.get(ctx, path, token)
	if err == nil && status != want {
		err = fmt.Errorf("%s answers %d, want %d: %.200s", path, status, want, body)
	}
	return err
}

// account makes a service account of the monitoring namespace and returns its
// UID.
func (s *stage) account(t *testing.T, name string) types.UID {
	t.Helper()
	accounts := s.API.CoreV1().ServiceAccounts(monitoring)
	_, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	account, err := accounts.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return account.UID
}

// token has the API server issue a token, for its own audience if none is
// given.
func (s *stage) token(t *testing.T, account string, audiences ...string) string {
	t.Helper()
	hour := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &hour}}
	answer, err := s.API.CoreV1().ServiceAccounts(monitoring).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// sign makes a token as the API server does, with its own key, that holds
// until a time of choice: the API server itself issues none for less than ten
// minutes.
func (s *stage) sign(t *testing.T, account string, uid types.UID, until time.Time) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.Plane.Directory, "pki", "service-account.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	begin := until.Add(-time.Hour).Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{audience}, "sub": "system:serviceaccount:" + monitoring + ":" + account,
		"iat": begin, "nbf": begin, "exp": until.Unix(),
		"kubernetes.io": map[string]any{"namespace": monitoring, "serviceaccount": map[string]any{"name": account, "uid": uid}},
	})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(append(fixed(a), fixed(b)...))
}

// fixed is a number as a signature has it: 32 bytes.
func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

// checkTokens holds who may read and who may not.
func (s *stage) checkTokens(t *testing.T, agent, health *reader) {
	uid := s.account(t, "prometheus")
	s.account(t, "stranger")
	right := s.token(t, "prometheus", audience)
	for _, test := range []struct {
		name, path, token string
		want              int
	}{
		{"no token", "/metrics", "", http.StatusUnauthorized},
		{"no token at all", "/metrics", "nonsense", http.StatusUnauthorized},
		{"issued", "/metrics", right, http.StatusOK},
		{"issued, the other exposition", "/metrics/cadvisor", right, http.StatusOK},
		{"issued, the API", "/api/v1/ooms", right, http.StatusOK},
		{"issued, not for this path", "/", right, http.StatusForbidden},
		{"of another audience", "/metrics", s.token(t, "prometheus"), http.StatusUnauthorized},
		{"unprivileged", "/metrics", s.token(t, "stranger", audience), http.StatusForbidden},
		// Whom Kubernetes lets get /api/* as everybody, for its own.
		{"unprivileged, the API", "/api/v1/ooms", s.token(t, "stranger", audience), http.StatusForbidden},
		{"signed like the expired one, and valid", "/metrics", s.sign(t, "prometheus", uid, time.Now().Add(time.Hour)), http.StatusOK},
		{"expired", "/metrics", s.sign(t, "prometheus", uid, time.Now().Add(-10*time.Minute)), http.StatusUnauthorized},
	} {
		if err := agent.is(t.Context(), test.path, test.token, test.want); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if err := health.is(t.Context(), path, "", http.StatusOK); err != nil {
			t.Error(err)
		}
	}
	plain := *agent
	plain.scheme = "http"
	if status, body, err := plain.get(t.Context(), "/metrics", right); err == nil && status == http.StatusOK {
		t.Errorf("the agent answers without TLS: %.200s", body)
	}
}

// outage is a time without the API server.
type outage struct {
	*stage
	lasts bool
	// token has a permission that was given at the latest when answered says;
	// fresh is as good, and the agent has not seen it.
	token, fresh string
	answered     time.Time
}

// begin gives a token a permission and stops the API server. It returns how old
// the permission was when it was used without that, and what came of it.
func (o *outage) begin(t *testing.T, agent *reader) (age time.Duration, err error) {
	t.Helper()
	var asked time.Time
	o.token = o.stage.token(t, "prometheus", audience)
	await(t, "the agent to let its reader in", func(ctx context.Context) error {
		asked = time.Now()
		return agent.is(ctx, "/metrics", o.token, http.StatusOK)
	})
	o.answered = time.Now()
	o.fresh = o.stage.token(t, "prometheus", audience)
	if err := o.Plane.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.lasts = true
	err = agent.is(t.Context(), "/metrics", o.token, http.StatusOK)
	return time.Since(asked), err
}

func (o *outage) end(t *testing.T) {
	t.Helper()
	if !o.lasts {
		return
	}
	o.lasts = false
	if err := errors.Join(o.Plane.StartAPIServer(), o.Plane.AwaitAPIServer(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
}

// checkWithoutAPIServer holds that a permission outlives the API server by the
// cache time at most, and that health does not depend on it.
func (s *stage) checkWithoutAPIServer(t *testing.T, agent, health *reader) {
	o := &outage{stage: s}
	t.Cleanup(func() { o.end(t) })
	// On a busy machine the API server may take longer to stop than the
	// permission lasts, which would show nothing.
	const tries = 3
	for try := 1; ; try++ {
		age, err := o.begin(t, agent)
		if age <= cacheTime {
			if err != nil {
				t.Errorf("%s after the permission, which holds for %s: %v", age, cacheTime, err)
			}
			break
		}
		t.Logf("too slow to see that a permission is remembered: %s since it was given (%v)", age, err)
		if try == tries {
			t.Errorf("in %d tries no permission could be used within %s without the API server: whether it outlives that is not known", tries, cacheTime)
			break
		}
		o.end(t)
	}
	if err := agent.is(t.Context(), "/metrics", o.fresh, http.StatusServiceUnavailable); err != nil {
		t.Errorf("a token that was never seen: %v", err)
	}
	time.Sleep(time.Until(o.answered.Add(cacheTime + time.Second)))
	if err := agent.is(t.Context(), "/metrics", o.token, http.StatusServiceUnavailable); err != nil {
		t.Errorf("after the cache time: %v", err)
	}
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if err := health.is(t.Context(), path, "", http.StatusOK); err != nil {
			t.Errorf("without the API server: %v", err)
		}
	}
	o.end(t)
	await(t, "the agent to let its reader in again", func(ctx context.Context) error {
		return agent.is(ctx, "/metrics", o.token, http.StatusOK)
	})
}
