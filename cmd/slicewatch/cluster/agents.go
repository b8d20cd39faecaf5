// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client"
)

const (
	// Selector finds the agents' pods as the chart and the overlays label them.
	Selector = "app.kubernetes.io/name=slicewatch,app.kubernetes.io/component=agent"

	// agentPort is the agent's where its pod does not say.
	agentPort = 9779
	portName  = "metrics"
	// maxAnswerBytes bounds what is taken of one agent.
	maxAnswerBytes = 64 << 20
)

// Agents says where the agents' pods are. An empty Namespace is all of them.
type Agents struct{ Namespace, Selector string }

// Hints asks the agents of all nodes, through the API server's proxy to their
// pods. Agents that do not answer are returned as errors of their own; it fails if
// none answers.
func (c *Cluster) Hints(ctx context.Context, where Agents, query client.HintQuery) (*exporter.HintList, []error, error) {
	pods, err := c.agents(ctx, where)
	if err != nil {
		return nil, nil, err
	}
	answers, failed := make([]*exporter.HintList, len(pods)), make([]error, len(pods))
	var asking sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range pods {
		slots <- struct{}{}
		asking.Go(func() {
			answers[i], failed[i] = c.ask(ctx, &pods[i], query)
			<-slots
		})
	}
	asking.Wait()
	all := &exporter.HintList{Hints: []exporter.ContainerHint{}}
	answered := false
	for _, one := range answers {
		if one == nil {
			continue
		}
		if !answered || one.Time.Before(all.Time) {
			all.Time = one.Time
		}
		answered = true
		all.Hints = append(all.Hints, one.Hints...)
	}
	failed = each(failed)
	if !answered {
		return nil, nil, fmt.Errorf("no agent of %d answers: %w", len(pods), errors.Join(failed[:min(3, len(failed))]...))
	}
	return all, failed, nil
}

// each returns the errors that there are, of which a right that is missing in a
// namespace is one however many agents are there.
func each(failed []error) []error {
	var all []error
	denied := map[string]bool{}
	for _, err := range failed {
		if refused := new(deniedError); errors.As(err, &refused) {
			if denied[refused.Error()] {
				continue
			}
			denied[refused.Error()] = true
		}
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// agents returns the agents' pods that run.
func (c *Cluster) agents(ctx context.Context, where Agents) ([]corev1.Pod, error) {
	var found []corev1.Pod
	err := c.eachPod(ctx, where.Namespace, metav1.ListOptions{LabelSelector: where.Selector}, func(pod *corev1.Pod) {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			found = append(found, *pod)
		}
	})
	inNamespace := "any namespace"
	if where.Namespace != "" {
		inNamespace = "namespace " + where.Namespace
	}
	switch {
	case apierrors.IsForbidden(err) && where.Namespace == "":
		return nil, errors.New("find the agents: no right to list pods in all namespaces: --agent-namespace says where the agents are, " +
			"or ask one of them by --url (kubectl port-forward)")
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("find the agents: %s; or ask one of them by --url (kubectl port-forward)",
			Missing{Resource: "pods", Verb: "list", Namespaces: []string{where.Namespace}, Without: "the agents are not found"})
	case err != nil:
		return nil, c.explain("find the agents", err)
	case len(found) == 0:
		return nil, fmt.Errorf("no agent runs in %s with the labels %s: --agent-namespace and --agent-selector say where they are, --url asks one of them",
			inNamespace, where.Selector)
	}
	return found, nil
}

// ask asks one agent.
func (c *Cluster) ask(ctx context.Context, pod *corev1.Pod, query client.HintQuery) (*exporter.HintList, error) {
	scheme, port := address(pod)
	name := fmt.Sprintf("agent %s on %s", pod.Name, pod.Spec.NodeName)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream := func(scheme string) (io.ReadCloser, error) {
		return c.proxy.Pods(pod.Namespace).ProxyGet(scheme, pod.Name, port, "/api/v1/hints", query.Parameters()).Stream(ctx)
	}
	answer, err := stream(scheme)
	if scheme == "http" && apierrors.IsBadRequest(err) {
		// What a server of TLS says to one who speaks without it.
		if secure, errSecure := stream("https"); errSecure == nil || apierrors.IsUnauthorized(errSecure) {
			answer, err = secure, errSecure
		}
	}
	switch {
	case apierrors.IsUnauthorized(err):
		return nil, fmt.Errorf("%s wants to know who asks, which the API server does not pass on: "+
			"kubectl port-forward to it and ask by --url and --token-file", name)
	case apierrors.IsForbidden(err) && !byAgent(err):
		return nil, &deniedError{Missing{Resource: "pods/proxy", Verb: "get", Namespaces: []string{pod.Namespace}, Without: "the agents cannot be asked through the API server"}}
	case apierrors.IsNotFound(err) && byAgent(err):
		return nil, fmt.Errorf("%s has no hints: it is an older slicewatch", name)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%s has just gone: ask again", name)
	case err != nil:
		return nil, fmt.Errorf("ask %s through the API server: %w%s", name, err, said(err))
	}
	defer answer.Close()
	var list exporter.HintList
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswerBytes)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s does not answer as slicewatch does: %w", name, err)
	}
	return &list, nil
}

// byAgent says whether an agent answered, not the API server, which answers a Status.
func byAgent(err error) bool { return len(agentCauses(err)) > 0 }

// said is what an agent answered, as far as that is text: it keeps its own words apart.
func said(err error) string {
	for _, cause := range agentCauses(err) {
		if cause.Message != "unknown" {
			return ": " + strings.TrimSpace(cause.Message)
		}
	}
	return ""
}

// agentCauses are those by which client-go tells of an answer that is no Status.
func agentCauses(err error) []metav1.StatusCause {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(status.Status().Details.Causes), func(cause metav1.StatusCause) bool {
		return cause.Type != metav1.CauseTypeUnexpectedServerResponse
	})
}

// deniedError is a right that the user lacks, for all agents of a namespace alike.
type deniedError struct{ missing Missing }

// Error names the rule that is missing.
func (e *deniedError) Error() string { return e.missing.String() }

// address returns how the agent of a pod serves: its own port, and TLS where its
// annotations for Prometheus say so.
func address(pod *corev1.Pod) (scheme, port string) {
	scheme, port = "http", strconv.Itoa(agentPort)
	if strings.EqualFold(pod.Annotations["prometheus.io/scheme"], "https") {
		scheme = "https"
	}
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.Name == portName {
				port = strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return scheme, port
}
