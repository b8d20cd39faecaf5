// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// api is a client that can do nothing but put the two questions.
type api struct {
	tokens typedauthenticationv1.TokenReviewInterface
	access typedauthorizationv1.SubjectAccessReviewInterface
	client *http.Client
}

// loadConfig returns how to reach the API server. Its errors say what to mend.
func loadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		restConfig, err := rest.InClusterConfig()
		switch {
		case errors.Is(err, rest.ErrNotInCluster):
			return nil, errors.New("--web.auth=kubernetes asks the API server, but this is no pod of a cluster and there is no kubeconfig: " +
				"set --kubeconfig, or protect the port with --web.config.file and --web.auth=none")
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("--web.auth=kubernetes asks the API server, but the pod has no service account token: "+
				"set automountServiceAccountToken: true (%w)", err)
		case err != nil:
			return nil, fmt.Errorf("--web.auth=kubernetes asks the API server, but the pod's service account cannot be used: %w", err)
		}
		return restConfig, nil
	}
	rules := clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	restConfig, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--web.auth=kubernetes asks the API server, but the kubeconfig %s cannot be used: %w; correct it or --kubeconfig",
			kubeconfig, err)
	}
	return restConfig, nil
}

func newAPI(restConfig *rest.Config) (*api, error) {
	restConfig = rest.CopyConfig(restConfig)
	restConfig.ContentType = runtime.ContentTypeProtobuf
	restConfig.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	restConfig.UserAgent = "slicewatch"
	restConfig.WarningHandlerWithContext = rest.NoWarnings{}
	// The Reviewer limits, and refuses at once where this would queue.
	restConfig.QPS = -1
	client, err := rest.HTTPClientFor(restConfig)
	if err != nil {
		return nil, err
	}
	authentication, err := typedauthenticationv1.NewForConfigAndClient(restConfig, client)
	if err != nil {
		return nil, err
	}
	authorization, err := typedauthorizationv1.NewForConfigAndClient(restConfig, client)
	if err != nil {
		return nil, err
	}
	return &api{tokens: authentication.TokenReviews(), access: authorization.SubjectAccessReviews(), client: client}, nil
}

func (a *api) closeIdle() { utilnet.CloseIdleConnectionsFor(a.client.Transport) }

// invalidTokenError is a token that the API server answered for: it is nobody's.
type invalidTokenError struct{ reason string }

// Error returns what the holder of the token may know.
func (e *invalidTokenError) Error() string { return e.reason }

// whose returns the user whose token it is, or an *invalidTokenError.
func (a *api) whose(ctx context.Context, token string, audiences []string) (authenticationv1.UserInfo, error) {
	question := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}
	review, err := asked(func() (*authenticationv1.TokenReview, error) {
		return a.tokens.Create(ctx, question, metav1.CreateOptions{})
	})
	switch {
	case err != nil:
		return authenticationv1.UserInfo{}, fmt.Errorf("review a token: %w", err)
	case !review.Status.Authenticated:
		return authenticationv1.UserInfo{}, &invalidTokenError{"the bearer token is not valid: it expired, is for another audience or another cluster, or was revoked"}
	case len(audiences) > 0 && !slices.ContainsFunc(review.Status.Audiences, func(audience string) bool {
		return slices.Contains(audiences, audience)
	}):
		// An authenticator that knows no audiences leaves the list empty and
		// has not looked at them.
		return authenticationv1.UserInfo{}, &invalidTokenError{"the bearer token is for another audience"}
	}
	return review.Status.User, nil
}

// mayGet says whether the user may get the path, which is how Kubernetes says
// read for what is no resource.
func (a *api) mayGet(ctx context.Context, user authenticationv1.UserInfo, path string) (bool, error) {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	question := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}
	review, err := asked(func() (*authorizationv1.SubjectAccessReview, error) {
		return a.access.Create(ctx, question, metav1.CreateOptions{})
	})
	if err != nil {
		return false, fmt.Errorf("review what a user may read: %w", err)
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}

// asked puts a question, twice if the first time gave no answer at all: a
// connection that an API server left behind when it restarted fails once. The
// questions change nothing, so that asking twice does no harm.
func asked[T any](ask func() (T, error)) (T, error) {
	answer, err := ask()
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return answer, err
	}
	return ask()
}

// explain says what err, which a review ended in, means and what mends it.
func explain(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the agent may not ask: bind the ClusterRole system:auth-delegator to its service account (%v)", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("the API server does not accept the agent's own credentials: see that its service account still exists (%v)", err)
	}
	return err.Error()
}
