// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"bytes"
	"encoding/json"
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
)

// scrapeInterval is short, so that the test is; the timeout is as long, as an
// emulated agent on a busy host may take a second to answer.
const scrapeInterval = 2 * time.Second

// server is a Prometheus that runs until the test ends.
type server struct {
	name string // what it asks for: "protobuf" or "openmetrics"
	url  string
}

// startServer starts a Prometheus that scrapes the agent at target, which has
// two paths: jobs "agent" and "cadvisor".
func startServer(t *testing.T, name, target string, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`global: {scrape_interval: %[1]v, scrape_timeout: %[1]v}
scrape_configs:
  - {job_name: agent, static_configs: [{targets: [%[2]q]}]}
  - {job_name: cadvisor, metrics_path: /metrics/cadvisor, static_configs: [{targets: [%[2]q]}]}
`, scrapeInterval, target)
	return startPrometheus(t, name, dir, config, flags...)
}

// startPrometheus starts a Prometheus with this configuration in a directory.
func startPrometheus(t *testing.T, name, dir, config string, flags ...string) *server {
	t.Helper()
	configFile := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(configFile, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{name: name, url: "http://" + freeAddress(t)}
	keepRunning(t, "prometheus", append([]string{
		"--config.file=" + configFile, "--storage.tsdb.path=" + filepath.Join(dir, "data"),
		"--web.listen-address=" + strings.TrimPrefix(s.url, "http://"), "--log.level=warn",
	}, flags...)...)
	s.awaitPage(t, "/-/ready")
	return s
}

// awaitPage waits until the server says that all is well.
func (s *server) awaitPage(t *testing.T, page string) {
	t.Helper()
	s.await(t, "it to be ready", func() bool {
		response, err := http.Get(s.url + page)
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
}

// keepRunning starts a program on this machine, which runs until the test ends.
func keepRunning(t *testing.T, name string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // the context ends it
		if log.Len() > 0 {
			t.Logf("%s said:\n%s", name, log.String())
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (s *server) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	await(t, s.name+": "+what, done)
}

// await waits for something that a machine without any load has in seconds.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(6 * time.Minute); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited six minutes for %s", what)
		}
	}
}

// get returns a page.
func get(t *testing.T, address string) string {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%.500s", address, response.Status, err, body)
	}
	return string(body)
}

// sample is a point in time, in seconds as Prometheus writes it, and a number.
type sample struct {
	at    float64
	value float64
}

// UnmarshalJSON reads `[1700000000.123, "1.5"]`.
func (s *sample) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &[]any{&s.at, &text}); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	s.value = value
	return err
}

// result is one series of a query's answer. Value is of instant vectors,
// Values of range vectors, Histogram of native histograms.
type result struct {
	Metric    map[string]string
	Value     *sample
	Values    []sample
	Histogram []any
}

// query asks at a point in time; 0 is now.
func (s *server) query(t *testing.T, expression string, at float64) []result {
	t.Helper()
	results, err := s.ask(expression, at)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// ask is query for expressions that may be wrong.
func (s *server) ask(expression string, at float64) ([]result, error) {
	parameters := url.Values{"query": {expression}}
	if at > 0 {
		parameters.Set("time", strconv.FormatFloat(at, 'f', 3, 64))
	}
	return s.answer("query", parameters)
}

// answer posts a query of a kind: query or query_range.
func (s *server) answer(kind string, parameters url.Values) ([]result, error) {
	response, err := http.PostForm(s.url+"/api/v1/"+kind, parameters)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s, %w\n%.500s", s.name, parameters.Get("query"), response.Status, err, page)
	}
	var answer struct {
		Data struct{ Result []result }
	}
	if err := json.Unmarshal(page, &answer); err != nil {
		return nil, fmt.Errorf("%s: the answer to %s: %w\n%.500s", s.name, parameters.Get("query"), err, page)
	}
	return answer.Data.Result, nil
}

// vector is query for an instant vector: its values by one label.
func (s *server) vector(t *testing.T, expression, label string, at float64) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, r := range s.query(t, expression, at) {
		key := r.Metric[label]
		if _, twice := values[key]; twice {
			t.Errorf("%s: %s: there are two series with %s=%q", s.name, expression, label, key)
		}
		values[key] = r.Value.value
	}
	return values
}

// sampleAfter waits until both jobs were scraped after now and returns the time
// of the first such sample of /metrics/cadvisor.
func (s *server) sampleAfter(t *testing.T, now time.Time) float64 {
	t.Helper()
	after, at := float64(now.UnixMilli())/1000, 0.0
	for _, job := range []string{"agent", "cadvisor"} {
		s.await(t, "a scrape of "+job, func() bool {
			for _, r := range s.query(t, fmt.Sprintf("up{job=%q}[5m]", job), 0) {
				for _, v := range r.Values {
					if v.at > after {
						at = v.at
						return true
					}
				}
			}
			return false
		})
	}
	return at
}

// checkScrapes holds that every scrape worked and no sample was refused.
func (s *server) checkScrapes(t *testing.T) {
	t.Helper()
	for _, job := range []string{"agent", "cadvisor"} {
		for selector, want := range map[string]float64{
			`min_over_time(up{job="` + job + `"}[1h])`: 1,
			`count(scrape_samples_scraped{job="` + job + `"} == scrape_samples_post_metric_relabeling{job="` + job + `"} and up == 1)`: 1,
		} {
			results := s.query(t, selector, 0)
			if len(results) != 1 || results[0].Value.value != want {
				t.Errorf("%s: %s is %+v, want %v", s.name, selector, results, want)
			}
		}
	}
	refused := 0
	for line := range strings.Lines(get(t, s.url+"/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, "prometheus_target_scrapes_") {
			continue
		}
		refused++
		if value != "0" {
			t.Errorf("%s: Prometheus refused samples: %s is %s", s.name, name, value)
		}
	}
	if refused < 4 {
		t.Errorf("%s: only %d counters of refused samples were found", s.name, refused)
	}
}
