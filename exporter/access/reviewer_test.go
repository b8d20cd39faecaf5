// SPDX-License-Identifier: Apache-2.0

package access

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a reviewer in front of a page that says "secret", with a clock that
// the test moves.
type gate struct {
	*Reviewer
	handler http.Handler
	log     *bytes.Buffer

	mu        sync.Mutex
	at        time.Time
	decisions map[Decision]int
	reviews   map[string]int
}

// Now implements the cache's clock.
func (g *gate) Now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at
}

func (g *gate) wait(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = g.at.Add(d)
}

func newGate(t *testing.T, server *apiServer, audiences ...string) *gate {
	t.Helper()
	g := &gate{at: time.Unix(1_800_000_000, 0), decisions: map[Decision]int{}, reviews: map[string]int{}, log: &bytes.Buffer{}}
	reviewer, err := New(Config{
		Kubeconfig: server.kubeconfig(), Audiences: audiences, AllowedTime: time.Minute,
		Logger:   slog.New(slog.NewTextHandler(g.log, nil)),
		Decided:  func(d Decision) { g.mu.Lock(); g.decisions[d]++; g.mu.Unlock() },
		Reviewed: func(kind string) { g.mu.Lock(); g.reviews[kind]++; g.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reviewer.Close)
	reviewer.now = g.Now
	reviewer.allowed = cache.NewLRUExpireCacheWithClock(maxAnswers, g)
	reviewer.refused = cache.NewLRUExpireCacheWithClock(maxAnswers, g)
	reviewer.known = cache.NewLRUExpireCacheWithClock(maxAnswers, g)
	g.Reviewer = reviewer
	g.handler = reviewer.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }))
	return g
}

func (g *gate) get(path, authorization string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response := httptest.NewRecorder()
	g.handler.ServeHTTP(response, request)
	return response
}

func (g *gate) want(t *testing.T, path, authorization string, status int) {
	t.Helper()
	response := g.get(path, authorization)
	if response.Code != status {
		t.Errorf("%s with %.20q: status %d (%s), want %d", path, authorization, response.Code, response.Body, status)
	}
	if let := strings.Contains(response.Body.String(), "secret"); let != (status == http.StatusOK) {
		t.Errorf("%s with %.20q: the page was shown: %v", path, authorization, let)
	}
}

const (
	prometheus = "system:serviceaccount:monitoring:prometheus"
	stranger   = "system:serviceaccount:default:default"
)

func tokens() map[string]token {
	return map[string]token{
		"good":     {user: prometheus, audiences: []string{"slicewatch", "api"}, paths: []string{"/metrics"}},
		"nobody":   {user: stranger, audiences: []string{"slicewatch", "api"}},
		"other":    {user: prometheus, audiences: []string{"vault"}, paths: []string{"/metrics"}},
		"audience": {user: prometheus, paths: []string{"/metrics"}},
	}
}

func TestWhoIsLetIn(t *testing.T) {
	tests := map[string]struct {
		path, authorization string
		audiences           []string
		status              int
		decision            Decision
		asked               []string
	}{
		"a valid token that may": {
			"/metrics", "Bearer good", nil, http.StatusOK, Allowed, []string{"token", "access " + prometheus + " /metrics"},
		},
		"the scheme in small letters": {
			"/metrics", "bearer good", nil, http.StatusOK, Allowed, []string{"token", "access " + prometheus + " /metrics"},
		},
		"the right audience": {
			"/metrics", "Bearer good", []string{"else", "slicewatch"}, http.StatusOK, Allowed,
			[]string{"token", "access " + prometheus + " /metrics"},
		},
		"no token":           {"/metrics", "", nil, http.StatusUnauthorized, Unauthenticated, nil},
		"an empty token":     {"/metrics", "Bearer ", nil, http.StatusUnauthorized, Unauthenticated, nil},
		"a password":         {"/metrics", "Basic Z29vZDpnb29k", nil, http.StatusUnauthorized, Unauthenticated, nil},
		"a token too long":   {"/metrics", "Bearer " + strings.Repeat("x", maxTokenBytes+1), nil, http.StatusUnauthorized, Unauthenticated, nil},
		"an expired token":   {"/metrics", "Bearer expired", nil, http.StatusUnauthorized, Unauthenticated, []string{"token"}},
		"the wrong audience": {"/metrics", "Bearer other", []string{"slicewatch"}, http.StatusUnauthorized, Unauthenticated, []string{"token"}},
		"an authenticator that knows no audiences": {
			"/metrics", "Bearer audience", []string{"slicewatch"}, http.StatusUnauthorized, Unauthenticated, []string{"token"},
		},
		"no privilege": {
			"/metrics", "Bearer nobody", nil, http.StatusForbidden, Forbidden, []string{"token", "access " + stranger + " /metrics"},
		},
		"another path than the one that is allowed": {
			"/debug/pprof/", "Bearer good", nil, http.StatusForbidden, Forbidden,
			[]string{"token", "access " + prometheus + " /debug/pprof/"},
		},
		"the API, which every user may get by Kubernetes' own roles": {
			"/api/v1/ooms", "Bearer nobody", nil, http.StatusForbidden, Forbidden, []string{"token", "access " + stranger + " /metrics"},
		},
		"the API, with the metrics' permission": {
			"/api/v1/hints", "Bearer good", nil, http.StatusOK, Allowed, []string{"token", "access " + prometheus + " /metrics"},
		},
		"a path that only looks allowed": {
			"/metrics/../debug/pprof/", "Bearer good", nil, http.StatusForbidden, Forbidden,
			[]string{"token", "access " + prometheus + " /metrics/../debug/pprof/"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := newAPIServer(t, tokens())
			g := newGate(t, server, test.audiences...)
			g.want(t, test.path, test.authorization, test.status)
			if diff := cmp.Diff(test.asked, server.questions()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[Decision]int{test.decision: 1}, g.decisions); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalsSayWhatTheClientNeeds(t *testing.T) {
	g := newGate(t, newAPIServer(t, tokens()))
	if got := g.get("/metrics", "").Header().Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	if body := g.get("/metrics", "Bearer nobody").Body.String(); !strings.Contains(body, stranger) || !strings.Contains(body, "nonResourceURL") {
		t.Errorf("403 says %q, want the user and the mend", body)
	}
}

func TestTheWholeUserIsPassedOn(t *testing.T) {
	server := newAPIServer(t, tokens())
	newGate(t, server).want(t, "/metrics", "Bearer good", http.StatusOK)
	want := []authorizationv1.SubjectAccessReviewSpec{{
		User: prometheus, UID: "uid", Groups: []string{"system:authenticated"},
		Extra:                 map[string]authorizationv1.ExtraValue{"k": {"v"}},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
	}}
	if diff := cmp.Diff(want, server.requests); diff != "" {
		t.Errorf("reviews (-want +got):\n%s", diff)
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	server := newAPIServer(t, tokens())
	g := newGate(t, server)
	asked := func(want int) {
		t.Helper()
		if got := server.questions(); len(got) != want {
			t.Errorf("asked %q, want %d questions", got, want)
		}
	}
	for range 3 {
		g.want(t, "/metrics", "Bearer good", http.StatusOK)
		g.want(t, "/metrics", "Bearer nobody", http.StatusForbidden)
		g.want(t, "/metrics", "Bearer expired", http.StatusUnauthorized)
	}
	asked(2 + 2 + 1)
	// A refusal is asked again soon, a permission later.
	g.wait(refusedTime + time.Second)
	server.set(func(a *apiServer) { a.tokens["nobody"] = token{user: stranger, paths: []string{"/metrics"}} })
	g.want(t, "/metrics", "Bearer nobody", http.StatusOK)
	g.want(t, "/metrics", "Bearer good", http.StatusOK)
	asked(2)
	// What was allowed for one path is not for another.
	g.want(t, "/metrics/cadvisor", "Bearer good", http.StatusForbidden)
	asked(2)
	server.set(func(a *apiServer) { delete(a.tokens, "good") })
	g.want(t, "/metrics", "Bearer good", http.StatusOK)
	g.wait(time.Minute)
	g.want(t, "/metrics", "Bearer good", http.StatusUnauthorized)
}

func TestPermissionEndsWithTheToken(t *testing.T) {
	server := newAPIServer(t, tokens())
	g := newGate(t, server)
	short := "h." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, g.at.Add(20*time.Second).Unix())) + ".s"
	server.set(func(a *apiServer) { a.tokens[short] = a.tokens["good"] })
	g.want(t, "/metrics", "Bearer "+short, http.StatusOK)
	server.set(func(a *apiServer) { delete(a.tokens, short) })
	g.wait(19 * time.Second)
	g.want(t, "/metrics", "Bearer "+short, http.StatusOK)
	g.wait(2 * time.Second)
	g.want(t, "/metrics", "Bearer "+short, http.StatusUnauthorized)
}

func TestAPIServerAway(t *testing.T) {
	for name, away := range map[string]func(*apiServer){
		"answers with errors":      func(a *apiServer) { a.status = http.StatusInternalServerError },
		"forbids to ask":           func(a *apiServer) { a.status = http.StatusForbidden },
		"does not know us":         func(a *apiServer) { a.status = http.StatusUnauthorized },
		"has nothing that listens": func(a *apiServer) { a.Listener.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			server := newAPIServer(t, tokens())
			g := newGate(t, server)
			g.want(t, "/metrics", "Bearer good", http.StatusOK)
			server.set(away)
			server.CloseClientConnections()
			g.want(t, "/metrics", "Bearer good", http.StatusOK)
			g.want(t, "/metrics", "Bearer nobody", http.StatusServiceUnavailable)
			g.wait(time.Minute + time.Second)
			g.want(t, "/metrics", "Bearer good", http.StatusServiceUnavailable)
			g.want(t, "/metrics", "Bearer good", http.StatusServiceUnavailable)
			if logged := strings.Count(g.log.String(), "level=WARN"); logged != 1 {
				t.Errorf("%d warnings, want one:\n%s", logged, g.log)
			}
			if name == "answers with errors" {
				server.set(func(a *apiServer) { a.status = 0 })
				g.want(t, "/metrics", "Bearer good", http.StatusOK)
				if !strings.Contains(g.log.String(), "says again") {
					t.Errorf("nothing was logged when it came back:\n%s", g.log)
				}
			}
			if name == "forbids to ask" && !strings.Contains(g.log.String(), "system:auth-delegator") {
				t.Errorf("the log does not say what to grant:\n%s", g.log)
			}
		})
	}
}

func TestClientThatGoesAway(t *testing.T) {
	server := newAPIServer(t, tokens())
	server.set(func(a *apiServer) { a.hang = make(chan struct{}) })
	g := newGate(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
	request.Header.Set("Authorization", "Bearer good")
	response := httptest.NewRecorder()
	g.handler.ServeHTTP(response, request)
	if response.Code != http.StatusServiceUnavailable || g.log.Len() > 0 {
		t.Errorf("status %d, log %q; want 503 and nothing logged", response.Code, g.log)
	}
}

func TestReviewsAreLimited(t *testing.T) {
	server := newAPIServer(t, tokens())
	g := newGate(t, server)
	g.want(t, "/metrics", "Bearer good", http.StatusOK)
	limited := 0
	for i := range 10 * strangersAtOnce {
		if g.get("/metrics", fmt.Sprint("Bearer guess", i)).Code == http.StatusTooManyRequests {
			limited++
		}
	}
	if want := 9*strangersAtOnce + 1; limited != want || g.decisions[Limited] != want {
		t.Errorf("%d of %d guesses were limited and %d counted, want %d", limited, 10*strangersAtOnce, g.decisions[Limited], want)
	}
	if g.reviews["token"] != strangersAtOnce {
		t.Errorf("the API server was asked about %d tokens, want %d", g.reviews["token"], strangersAtOnce)
	}
	// Who had access before keeps it while strangers try.
	g.wait(time.Minute)
	g.strangers = rate.NewLimiter(0, 0)
	g.want(t, "/metrics", "Bearer guess", http.StatusTooManyRequests)
	g.want(t, "/metrics", "Bearer good", http.StatusOK)
}

func TestNoWayToTheAPIServer(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kubeconfig string
		want       []string
	}{
		"not in a cluster":   {"", []string{"--web.auth=kubernetes", "--kubeconfig", "--web.config.file"}},
		"missing kubeconfig": {"/does/not/exist", []string{"--web.auth=kubernetes", "/does/not/exist"}},
		"empty kubeconfig":   {empty, []string{"--web.auth=kubernetes", empty}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			_, err := New(Config{Kubeconfig: c.kubeconfig})
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not name %q: %v", part, err)
				}
			}
		})
	}
}

func FuzzExpiry(f *testing.F) {
	f.Add("a.eyJleHAiOjE4MDAwMDAwMDB9.c")
	f.Add("a.e30.c")
	f.Add("a.eyJleHAiOi0xZTMwMH0.c")
	f.Add("opaque")
	f.Fuzz(func(t *testing.T, token string) {
		expiry, ok := expiryOf(token)
		if ok && (expiry.Unix() < 0 || expiry.Year() > 70000) {
			t.Errorf("%q ends at %v", token, expiry)
		}
		if !ok && !expiry.IsZero() {
			t.Errorf("%q has no end, but got %v", token, expiry)
		}
	})
}
