// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

const (
	scrapeInterval = 10 * time.Second
	// evaluation is how often the rules are evaluated.
	evaluation = 15 * time.Second
)

// prometheus is a real one on this machine.
type prometheus struct{ url string }

// startPrometheus starts one with the rules of deploy/. It scrapes as
// docs/install.md says, but for finding the pods: Debian's Prometheus is built
// without that, so the target is given, with the label that it would have.
func (s *stage) startPrometheus(t *testing.T, agent *reader, authority, token string) *prometheus {
	t.Helper()
	directory := t.TempDir()
	tokenFile := filepath.Join(directory, "token")
	config := fmt.Sprintf(`global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[2]s}
rule_files: [%[3]q]
scrape_configs:
- job_name: slicewatch
  honor_labels: true
  scheme: https
  tls_config: {ca_file: %[4]q, server_name: %[5]q}
  authorization: {credentials_file: %[6]q}
  static_configs: [{targets: [%[7]q], labels: {node: %[8]q}}]
`, scrapeInterval, evaluation, filepath.Join(s.root, "deploy/rules/slicewatch.rules.yaml"), authority, serverName, tokenFile,
		s.forward(t, agent.address), node.Name)
	configFile := filepath.Join(directory, "prometheus.yml")
	for file, content := range map[string]string{configFile: config, tokenFile: token} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	var log bytes.Buffer
	command := exec.CommandContext(t.Context(), "prometheus", "--config.file="+configFile,
		"--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address="+address, "--log.level=warn")
	command.Stdout, command.Stderr = &log, &log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 20 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Wait() // the context ends it
		if log.Len() > 0 {
			t.Logf("Prometheus said:\n%s", log.String())
		}
	})
	return &prometheus{url: "http://" + address}
}

// forward listens on this machine for connections to an address that only the
// node can reach, and returns where.
func (s *stage) forward(t *testing.T, to string) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			inner, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer inner.Close()
				outer, err := s.Node.DialContext(context.WithoutCancel(t.Context()), "tcp", to)
				if err != nil {
					return
				}
				defer outer.Close()
				go func() {
					_, _ = io.Copy(outer, inner)
					outer.Close()
				}()
				_, _ = io.Copy(inner, outer)
			}()
		}
	}()
	return listener.Addr().String()
}

// point is one sample, its time in seconds.
type point struct{ at, value float64 }

// samples returns all samples of the last hour of the series that a selector
// matches, one after the other by series.
func (p *prometheus) samples(ctx context.Context, selector string) (series [][]point, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/query?query="+url.QueryEscape(selector+"[1h]"), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var result struct {
		Error string
		Data  struct {
			Result []struct{ Values [][2]any }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		return nil, err
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	for _, one := range result.Data.Result {
		var points []point
		for _, pair := range one.Values {
			at, isNumber := pair[0].(float64)
			text, isText := pair[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if !isNumber || !isText || err != nil {
				return nil, fmt.Errorf("%v is no sample", pair)
			}
			points = append(points, point{at, value})
		}
		series = append(series, points)
	}
	return series, nil
}

// firing returns since when one of the alerts fires for a pod.
func (p *prometheus) firing(ctx context.Context, alerts []string, pod string) (float64, error) {
	series, err := p.samples(ctx, fmt.Sprintf(`ALERTS{alertname=~%q,namespace=%q,pod=%q,alertstate="firing"}`, strings.Join(alerts, "|"), troubled, pod))
	if err != nil {
		return 0, err
	}
	first := 0.0
	for _, points := range series {
		if first == 0 || points[0].at < first {
			first = points[0].at
		}
	}
	if first == 0 {
		return 0, fmt.Errorf("no alert %s fires for pod %s", strings.Join(alerts, " or "), pod)
	}
	return first, nil
}

// checkKillAlert wants an alert within two evaluations of the first sample that
// has a further kill in it.
func (p *prometheus) checkKillAlert(t *testing.T) {
	var killed, fired float64
	await(t, "the alert for an OOM kill", func(ctx context.Context) (err error) {
		fired, err = p.firing(ctx, []string{"ContainerOOMKilled", "PodOOMKilled"}, "killed")
		return err
	})
	series, err := p.samples(t.Context(), fmt.Sprintf(`slicewatch_oom_kills_total{namespace=%q,pod="killed"}`, troubled))
	if err != nil {
		t.Fatal(err)
	}
	for _, points := range series {
		for _, one := range points {
			if one.value > points[0].value && (killed == 0 || one.at < killed) {
				killed = one.at
			}
		}
	}
	t.Logf("the alert for the OOM kill fired %.1f s after the scrape that first had it, rules being evaluated every %s", fired-killed, evaluation)
	if killed == 0 || fired-killed > 2*evaluation.Seconds() {
		t.Errorf("the alert came %.1f s after the scrape at %.1f, want %s at most", fired-killed, killed, 2*evaluation)
	}
}

// checkThrottledAlert wants the alert within two evaluations of the first
// sample that has the condition in it, told from the raw counters: more time
// lost than used, half a minute of it within five, and ten minutes of age.
func (p *prometheus) checkThrottledAlert(t *testing.T) {
	const lost, old = 30, 600
	var fired float64
	await(t, "the alert for a throttled container", func(ctx context.Context) (err error) {
		fired, err = p.firing(ctx, []string{"ContainerCPUThrottled"}, "throttled")
		return err
	})
	one := func(family string) []point {
		series, err := p.samples(t.Context(), fmt.Sprintf(`%s{namespace=%q,pod="throttled"}`, family, troubled))
		if err != nil || len(series) != 1 {
			t.Fatalf("%s: %d series, want 1 (%v)", family, len(series), err)
		}
		return series[0]
	}
	born := one("slicewatch_container_start_time_seconds")[0].value
	throttled, met := one("slicewatch_container_cpu_throttled_seconds_total"), 0.0
	for _, sample := range throttled {
		if met == 0 && sample.value-throttled[0].value >= lost && sample.at-born >= old {
			met = sample.at
		}
	}
	first := throttled[0]
	t.Logf("the alert for the throttled container fired %.1f s after the samples said so, %.1f s after its start, %.1f s after the first scrape; %.1f s were lost by then",
		fired-met, fired-born, fired-first.at, throttled[len(throttled)-1].value-first.value)
	if met == 0 || fired-met > 2*evaluation.Seconds() {
		t.Errorf("the alert came %.1f s after the sample at %.1f, want %s at most", fired-met, met, 2*evaluation)
	}
}
