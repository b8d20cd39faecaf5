// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/typed/autoscaling.k8s.io/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	typedautoscalingv2 "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	// Users may log in by OpenID Connect, as with kubectl.
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc"
)

const (
	// timeout is how long the API server may take for one answer.
	timeout = 30 * time.Second
	// atOnce is how many requests are under way at most.
	atOnce = 8
)

// Config says which cluster and who asks, as kubectl does: an empty Kubeconfig
// is $KUBECONFIG, else ~/.kube/config, else the service account of the pod that
// the command runs in; an empty Context is the current one.
type Config struct{ Kubeconfig, Context string }

// Cluster reads from one API server.
type Cluster struct {
	host string
	core typedcorev1.CoreV1Interface
	// proxy reaches the agents. It has no time limit of its own: client-go would
	// add that to the query, which the API server passes on.
	proxy       typedcorev1.CoreV1Interface
	autoscaling typedautoscalingv2.AutoscalingV2Interface
	vpas        vpaclient.AutoscalingV1Interface
}

// Connect makes the clients. It asks nothing yet; its errors say what to mend in
// the kubeconfig.
func Connect(cfg Config) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) || errors.Is(err, rest.ErrNotInCluster):
		return nil, errors.New("--cluster needs a way to the API server, but there is no kubeconfig: name one by --kubeconfig or $KUBECONFIG")
	case err != nil:
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w; correct it, --kubeconfig or --context", trimmed(err))
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "slicewatch"
	config.Timeout = timeout
	config.WarningHandlerWithContext = rest.NoWarnings{}
	// atOnce bounds what is asked.
	config.QPS = -1
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig's credentials: %w", err)
	}
	c := &Cluster{host: config.Host}
	core, err := typedcorev1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	unlimited := *client
	unlimited.Timeout = 0
	proxy, err := typedcorev1.NewForConfigAndClient(config, &unlimited)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	autoscaling, err := typedautoscalingv2.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	vpas, err := vpaclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	c.core, c.proxy, c.autoscaling, c.vpas = core, proxy, autoscaling, vpas
	return c, nil
}

// trimmed takes off the label that client-go's messages begin with.
func trimmed(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "invalid configuration: "); ok {
		return errors.New(text)
	}
	return err
}

// explain says what an error of the API server means where it is not about one
// resource, and what mends it.
func (c *Cluster) explain(doing string, err error) error {
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the API server at %s does not know who asks: log in anew, or name other credentials by --kubeconfig or --context", doing, c.host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: nothing listens at %s: --context names another cluster, and without --cluster only the agent is asked", doing, c.host)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s from the API server at %s: %w; without --cluster only the agent is asked", doing, c.host, err)
}

// Missing is a right that the user lacks, or something else that could not be read
// and that is done without.
type Missing struct {
	// Group, Resource and Verb are the rule that is missing.
	Group, Resource, Verb string
	// Namespaces are where.
	Namespaces []string
	// Without is what the output lacks because of it.
	Without string
}

// String names the rule, as it is written into a Role.
func (m Missing) String() string {
	where := "in all namespaces"
	if len(m.Namespaces) > 0 {
		where = "in " + strings.Join(m.Namespaces, ", ")
	}
	return fmt.Sprintf("no right to %s %s %s: %s. The rule for it: {apiGroups: [%q], resources: [%q], verbs: [%q]}",
		m.Verb, m.Resource, where, m.Without, m.Group, m.Resource, m.Verb)
}
