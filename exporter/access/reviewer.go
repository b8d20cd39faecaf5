// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"
)

// Decision is what became of a request.
type Decision string

// The decisions, a closed list.
const (
	Allowed         Decision = "allowed"
	Unauthenticated Decision = "unauthenticated" // no token, or not a valid one: 401
	Forbidden       Decision = "forbidden"       // a valid token that may not: 403
	Unavailable     Decision = "unavailable"     // the API server did not answer: 503
	Limited         Decision = "limited"         // too many questions at once: 429
)

// Decisions returns every decision there is.
func Decisions() []Decision {
	return []Decision{Allowed, Unauthenticated, Forbidden, Unavailable, Limited}
}

const (
	// refusedTime is how long a refusal is remembered: short, as it stands in
	// the way of whoever has just been given the right.
	refusedTime = 10 * time.Second
	// reviewTimeout is for both questions together. A scrape's usual timeout
	// is 10 s.
	reviewTimeout = 5 * time.Second
	// maxAnswers bounds each of the memories of answers: 100 bytes an entry.
	maxAnswers = 1024
	// maxTokenBytes is more than any issuer's token has.
	maxTokenBytes = 16 << 10
	// knownTime is how long who was let in once is preferred over strangers.
	knownTime = time.Hour
)

// Reviews that the API server is asked for in a second, and at once. Who tries
// tokens must neither load the API server through every node's agent, nor use
// up what those who had access before need to keep it.
const (
	strangersPerSecond, strangersAtOnce = 5, 20
	knownPerSecond, knownAtOnce         = 20, 40
)

// Config is what a Reviewer needs.
type Config struct {
	// Kubeconfig is how to reach the API server; empty means as the pod's
	// service account.
	Kubeconfig string
	// Audiences are those of which a token must be for one. Empty: the API
	// server's own.
	Audiences []string
	// AllowedTime is how long a permission holds without asking again, also
	// when the API server is away.
	AllowedTime time.Duration
	Logger      *slog.Logger
	// Decided is called with the outcome of each request, Reviewed with each
	// question that is put to the API server: "token" or "access".
	Decided  func(Decision)
	Reviewed func(kind string)
}

// Reviewer lets requests through or not. Its methods may be called from
// several goroutines.
type Reviewer struct {
	config    Config
	api       *api
	now       func() time.Time
	allowed   *cache.LRUExpireCache // request key -> nothing
	refused   *cache.LRUExpireCache // request key -> verdict
	known     *cache.LRUExpireCache // token's hash -> nothing
	strangers *rate.Limiter
	regulars  *rate.Limiter

	mu     sync.Mutex
	reason string // why the API server does not answer, or empty
}

// verdict is a decision with the words for the client.
type verdict struct {
	decision Decision
	text     string
}

// New returns a reviewer, and fails when there is no way to reach the API
// server: that is for the operator to mend. It asks nothing yet.
func New(config Config) (*Reviewer, error) {
	restConfig, err := loadConfig(config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := newAPI(restConfig)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server for --web.auth=kubernetes: %w", err)
	}
	return &Reviewer{
		config: config, api: client, now: time.Now,
		allowed:   cache.NewLRUExpireCache(maxAnswers),
		refused:   cache.NewLRUExpireCache(maxAnswers),
		known:     cache.NewLRUExpireCache(maxAnswers),
		strangers: rate.NewLimiter(strangersPerSecond, strangersAtOnce),
		regulars:  rate.NewLimiter(knownPerSecond, knownAtOnce),
	}, nil
}

// Close closes the connections to the API server that are not in use.
func (r *Reviewer) Close() { r.api.closeIdle() }

// Wrap returns a handler that passes on to next what is allowed and answers
// the rest itself.
func (r *Reviewer) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		v := r.decide(request)
		r.config.Decided(v.decision)
		header := w.Header()
		status := http.StatusForbidden
		switch v.decision {
		case Allowed:
			next.ServeHTTP(w, request)
			return
		case Unauthenticated:
			status = http.StatusUnauthorized
			header.Set("WWW-Authenticate", "Bearer")
		case Unavailable:
			status = http.StatusServiceUnavailable
			header.Set("Retry-After", "5")
		case Limited:
			status = http.StatusTooManyRequests
			header.Set("Retry-After", "1")
		case Forbidden:
		}
		http.Error(w, v.text, status)
	})
}

// key stands for a token and a path in the memories of answers. It has one
// size, whatever was sent, and does not give the token away.
type key [sha256.Size]byte

func keyOf(parts ...string) key { return sha256.Sum256([]byte(strings.Join(parts, "\x00"))) }

// permitting returns the path that a user must be allowed to get to get this
// one. Every cluster lets every authenticated user get /api and what is below
// (ClusterRole system:discovery), meaning its own: who may read ours is who may
// read the metrics.
func permitting(path string) string {
	if path == "/api" || strings.HasPrefix(path, "/api/") {
		return "/metrics"
	}
	return path
}

func (r *Reviewer) decide(request *http.Request) verdict {
	token, ok := bearerToken(request)
	if !ok {
		return verdict{Unauthenticated, "a bearer token is needed: Authorization: Bearer TOKEN"}
	}
	path := permitting(request.URL.Path)
	owner, question := keyOf(token), keyOf(token, path)
	if _, ok := r.allowed.Get(question); ok {
		return verdict{decision: Allowed}
	}
	if answer, ok := r.refused.Get(question); ok {
		if v, ok := answer.(verdict); ok {
			return v
		}
	}
	limiter := r.strangers
	if _, ok := r.known.Get(owner); ok {
		limiter = r.regulars
	}
	if !limiter.AllowN(r.now(), 1) {
		return verdict{Limited, "too many requests whose tokens have to be reviewed; try again later"}
	}
	v, err := r.review(request.Context(), token, path)
	if err != nil {
		r.unanswered(request.Context(), err)
		return verdict{Unavailable, "the API server, which says who may read this, does not answer; try again later"}
	}
	r.answered()
	if v.decision != Allowed {
		r.refused.Add(question, v, refusedTime)
		return v
	}
	r.known.Add(owner, nil, knownTime)
	if holds := r.holds(token); holds > 0 {
		r.allowed.Add(question, nil, holds)
	}
	return v
}

// holds returns how long a permission may be remembered: never beyond the
// token's own end.
func (r *Reviewer) holds(token string) time.Duration {
	if expiry, ok := expiryOf(token); ok {
		return min(r.config.AllowedTime, expiry.Sub(r.now()))
	}
	return r.config.AllowedTime
}

// review asks the API server both questions.
func (r *Reviewer) review(ctx context.Context, token, path string) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	r.config.Reviewed("token")
	user, err := r.api.whose(ctx, token, r.config.Audiences)
	var invalid *invalidTokenError
	switch {
	case errors.As(err, &invalid):
		return verdict{Unauthenticated, invalid.Error()}, nil
	case err != nil:
		return verdict{}, err
	}
	r.config.Reviewed("access")
	may, err := r.api.mayGet(ctx, user, path)
	switch {
	case err != nil:
		return verdict{}, err
	case !may:
		r.config.Logger.Debug("Refused who may not read this", "user", user.Username, "path", path)
		return verdict{Forbidden, fmt.Sprintf("%s may not get %q: grant the verb get on that nonResourceURL by a ClusterRole", user.Username, path)}, nil
	}
	return verdict{decision: Allowed}, nil
}

// unanswered says that the API server gave no answer, once for each reason.
func (r *Reviewer) unanswered(ctx context.Context, err error) {
	if ctx.Err() != nil {
		// The client went away, which says nothing of the API server.
		return
	}
	reason := explain(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason != r.reason {
		r.reason = reason
		r.config.Logger.Warn("Nobody is let in whose permission ran out: the API server cannot be asked", "reason", reason)
	}
}

func (r *Reviewer) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != "" {
		r.reason = ""
		r.config.Logger.Info("The API server says again who may read")
	}
}
