// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
)

// Series is one time series of an exposition, histograms left out.
type Series struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Scrape is one exposition.
type Scrape struct{ All []Series }

// Named returns the series of one family.
func (s Scrape) Named(name string) []Series {
	var found []Series
	for _, one := range s.All {
		if one.Name == name {
			found = append(found, one)
		}
	}
	return found
}

// One returns the value of the family's series whose labels include all of
// labels, which are names and values in turn. There must be exactly one.
func (s Scrape) One(name string, labels ...string) (float64, error) {
	found := slices.DeleteFunc(s.Named(name), func(one Series) bool {
		for i := 0; i < len(labels); i += 2 {
			if one.Labels[labels[i]] != labels[i+1] {
				return true
			}
		}
		return false
	})
	if len(found) != 1 {
		return 0, fmt.Errorf("%s%q: %d series, want 1: %v", name, labels, len(found), found)
	}
	return found[0].Value, nil
}

// ParseScrape parses the text format.
func ParseScrape(text io.Reader) (Scrape, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return Scrape{}, fmt.Errorf("parse an exposition: %w", err)
	}
	var s Scrape
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			value, ok := number(metric)
			if !ok {
				continue
			}
			labels := make(map[string]string, len(metric.GetLabel()))
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			s.All = append(s.All, Series{Name: name, Labels: labels, Value: value})
		}
	}
	return s, nil
}

func number(metric *dto.Metric) (float64, bool) {
	switch {
	case metric.Counter != nil:
		return metric.GetCounter().GetValue(), true
	case metric.Gauge != nil:
		return metric.GetGauge().GetValue(), true
	case metric.Untyped != nil:
		return metric.GetUntyped().GetValue(), true
	default:
		return 0, false
	}
}

// ErrNoAgent says that the cluster has no running agent.
var ErrNoAgent = errors.New("no agent runs on the cluster: install it with `cluster install`")

// AgentPod returns the agent's pod, which must be the only one and ready.
func AgentPod(ctx context.Context, c *cluster.Cluster) (*corev1.Pod, error) {
	found, err := c.API.CoreV1().Pods(install.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=slicewatch",
	})
	if err != nil {
		return nil, fmt.Errorf("find the agent: %w", err)
	}
	for i := range found.Items {
		pod := &found.Items[i]
		if pod.DeletionTimestamp == nil && pod.Status.PodIP != "" {
			return pod, nil
		}
	}
	return nil, ErrNoAgent
}

// Agent fetches from the agent of one cluster, over the node and not over the
// API server, which may be down.
type Agent struct {
	address string
	http    http.Client
}

// NewAgent returns an agent that answers at a pod's address.
func NewAgent(c *cluster.Cluster, pod *corev1.Pod) *Agent {
	return &Agent{
		address: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(install.Port)),
		http: http.Client{
			Transport: &http.Transport{DialContext: c.Node.DialContext, DisableKeepAlives: true},
			Timeout:   time.Minute,
		},
	}
}

// Get returns the body of the agent's answer; a status other than 200 is an
// error.
func (a *Agent) Get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.address+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the agent for %s: %w", path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("ask the agent for %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the agent for %s: %s: %s", path, answer.Status, body)
	}
	return string(body), nil
}

// Scrape fetches and parses /metrics.
func (a *Agent) Scrape(ctx context.Context) (Scrape, error) { return a.ScrapePath(ctx, "/metrics") }

// ScrapePath fetches and parses an exposition.
func (a *Agent) ScrapePath(ctx context.Context, path string) (Scrape, error) {
	body, err := a.Get(ctx, path)
	if err != nil {
		return Scrape{}, err
	}
	return ParseScrape(strings.NewReader(body))
}

// ScrapeAfter scrapes until what it gets was read after this call.
func (a *Agent) ScrapeAfter(ctx context.Context) (Scrape, error) {
	const family = "slicewatch_snapshot_timestamp_seconds"
	first := 0.0
	for sweeps := 0; ; {
		s, err := a.Scrape(ctx)
		if err != nil {
			return s, err
		}
		taken, err := s.One(family)
		if err != nil {
			return s, err
		}
		if taken != first {
			// The first is older than this call; the second may have begun
			// before it.
			first, sweeps = taken, sweeps+1
		}
		if sweeps > 2 {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("wait for the agent's next sweep: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
