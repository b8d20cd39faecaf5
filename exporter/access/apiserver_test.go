// SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer answers the two reviews as a kube-apiserver does, from what it is
// told about tokens.
type apiServer struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	tokens   map[string]token
	asked    []string // "token" or "access USER PATH"
	requests []authorizationv1.SubjectAccessReviewSpec
	status   int // if not 0, the answer to everything
	hang     chan struct{}
}

// token is what the server knows of one.
type token struct {
	user      string
	audiences []string // none: the authenticator does not look at audiences
	paths     []string // what its user may get
}

func newAPIServer(t *testing.T, tokens map[string]token) *apiServer {
	t.Helper()
	a := &apiServer{t: t, tokens: tokens}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

// kubeconfig writes one that leads here.
func (a *apiServer) kubeconfig() string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "kubeconfig")
	content := `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "` + a.URL + `"}}]
users: [{name: u, user: {token: agent}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *apiServer) set(change func(*apiServer)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// questions returns what was asked since the last call.
func (a *apiServer) questions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

func (a *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Errorf("read a request: %v", err)
	}
	a.mu.Lock()
	status, hang := a.status, a.hang
	a.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
		a.write(w, &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(status),
			Reason: map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 401: metav1.StatusReasonUnauthorized}[status],
		})
		return
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		a.t.Errorf("decode a request to %s: %v", r.URL.Path, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
	a.write(w, a.answer(object))
}

func (a *apiServer) answer(object runtime.Object) runtime.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch review := object.(type) {
	case *authenticationv1.TokenReview:
		a.asked = append(a.asked, "token")
		known, ok := a.tokens[review.Spec.Token]
		common := slices.DeleteFunc(slices.Clone(known.audiences), func(audience string) bool {
			return !slices.Contains(review.Spec.Audiences, audience)
		})
		if ok && len(review.Spec.Audiences) > 0 && len(known.audiences) > 0 && len(common) == 0 {
			ok = false
		}
		review.TypeMeta = metav1.TypeMeta{Kind: "TokenReview", APIVersion: "authentication.k8s.io/v1"}
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: ok, Audiences: common}
		if ok {
			review.Status.User = authenticationv1.UserInfo{
				Username: known.user, UID: "uid", Groups: []string{"system:authenticated"},
				Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}},
			}
		}
	case *authorizationv1.SubjectAccessReview:
		a.requests = append(a.requests, review.Spec)
		path := review.Spec.NonResourceAttributes.Path
		a.asked = append(a.asked, strings.Join([]string{"access", review.Spec.User, path}, " "))
		review.TypeMeta = metav1.TypeMeta{Kind: "SubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
		for _, known := range a.tokens {
			if known.user == review.Spec.User && slices.Contains(known.paths, path) {
				review.Status.Allowed = true
			}
		}
	}
	return object
}

func (a *apiServer) write(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		a.t.Logf("the client left: %v", err)
	}
}
