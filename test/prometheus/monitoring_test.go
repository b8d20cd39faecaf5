// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/deploy/dashboards"
	"github.com/slicewatch/slicewatch/deploy/rules"
	"github.com/slicewatch/slicewatch/test/families"
)

const (
	// collectTime has three OOM kills of the cluster's leaking container in it.
	collectTime = 100 * time.Second
	// monitored is the scrape interval: three servers and the cluster's pods share
	// an emulated machine.
	monitored = 5 * time.Second
	// patience is how long a query may give nothing: a scrape of a busy machine
	// may be late, and leaves a gap.
	patience = 90 * time.Second
	// evaluation is how often rules are evaluated.
	evaluation = 5 * time.Second
	ruleFile   = "../../deploy/rules/slicewatch.rules.yaml"
	kubeconfig = `apiVersion: v1
kind: Config
current-context: it
clusters: [{name: it, cluster: {server: "http://127.0.0.1:8001"}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
users: [{name: it, user: {}}]
`
)

// startCluster is a machine with the demo's cluster, an API server that knows
// its pods, and the agent.
func startCluster(t *testing.T) *guest {
	t.Helper()
	g := boot(t, 1536, "cluster", "/test/prometheus/cluster")
	pods := g.start(t, "cluster")
	await(t, "the cluster's pods to run", func() bool { return strings.Contains(pods.String(), "ready\n") })
	g.write(t, "/tmp/kubeconfig", kubeconfig)
	g.startAgent(t, "--kubeconfig=/tmp/kubeconfig", "--node.name=node-1")
	return g
}

// scrapeConfig is what a Prometheus and VictoriaMetrics both read.
func scrapeConfig(agent string) string {
	return fmt.Sprintf(`scrape_configs:
- job_name: slicewatch
  static_configs: [{targets: [%q], labels: {node: node-1}}]
`, agent)
}

func startMonitoring(t *testing.T, name, agent string, flags ...string) *server {
	t.Helper()
	file, err := filepath.Abs(ruleFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: %[1]v, scrape_timeout: %[1]v, evaluation_interval: %[2]v}\nrule_files: [%[3]q]\n",
		monitored, evaluation, file) + scrapeConfig(agent)
	return startPrometheus(t, name, t.TempDir(), config, flags...)
}

// startVictoria starts VictoriaMetrics, and vmalert for the rules, and returns
// both.
func startVictoria(t *testing.T, agent string) (store, alerts *server) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "scrape.yml")
	config := fmt.Sprintf("global: {scrape_interval: %[1]v, scrape_timeout: %[1]v}\n", monitored) + scrapeConfig(agent)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	store = &server{name: "victoria-metrics", url: "http://" + freeAddress(t)}
	keepRunning(t, "victoria-metrics", "-promscrape.config="+file, "-storageDataPath="+filepath.Join(dir, "data"),
		"-httpListenAddr="+strings.TrimPrefix(store.url, "http://"), "-search.latencyOffset=1s", "-loggerLevel=WARN")
	store.awaitPage(t, "/health")
	// A rule counts as failed when its alert cannot be sent.
	notifier := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(notifier.Close)
	alerts = &server{name: "vmalert", url: "http://" + freeAddress(t)}
	keepRunning(t, "vmalert", "-rule="+ruleFile, "-datasource.url="+store.url, "-remoteWrite.url="+store.url, "-remoteWrite.flushInterval=1s",
		"-notifier.url="+notifier.URL, "-evaluationInterval="+evaluation.String(),
		"-httpListenAddr="+strings.TrimPrefix(alerts.url, "http://"), "-loggerLevel=PANIC")
	alerts.awaitPage(t, "/health")
	return store, alerts
}

// TestMonitoring lets Prometheus, with classic and with native histograms, and
// VictoriaMetrics scrape an agent beside a cluster with troubles, and wants data
// from each query of each dashboard, and from each rule.
func TestMonitoring(t *testing.T) {
	needs(t)
	g := startCluster(t)
	servers := []*server{
		startMonitoring(t, "classic", g.agent),
		startMonitoring(t, "native", g.agent, "--enable-feature=native-histograms"),
	}
	ruleServers := slices.Clone(servers)
	if _, err := exec.LookPath("vmalert"); err == nil {
		store, alerts := startVictoria(t, g.agent)
		servers, ruleServers = append(servers, store), append(ruleServers, alerts)
	} else {
		t.Log("VictoriaMetrics is left out, as it is not installed: apt-get install victoria-metrics")
	}
	time.Sleep(collectFor())
	for i, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Run("dashboards", func(t *testing.T) { checkDashboards(t, s) })
			t.Run("records", func(t *testing.T) { checkRecords(t, s) })
			t.Run("health", func(t *testing.T) { checkHealth(t, ruleServers[i]) })
			t.Run("alerts", func(t *testing.T) { checkAlerts(t, s) })
		})
	}
	if os.Getenv(picturesEnv) != "" {
		draw(t, servers[0])
	}
}

// variables is every dashboard's "All".
func variables() map[string]string {
	values := map[string]string{"__rate_interval": "1m", "__range": "5m"}
	for _, name := range []string{"node", "namespace", "workload", "pod", "container"} {
		values[name] = ".*"
	}
	return values
}

// late says whether an expression asks for hints. They come when the agent has
// seen a container for long enough, which this test does not wait for: their
// queries are asked, and may give nothing.
func late(expr string) bool {
	return slices.ContainsFunc(families.Selectors(expr), func(s families.Selector) bool {
		return strings.HasPrefix(s.Name, "slicewatch_hint_")
	})
}

// empty are the queries that find nothing in this machine, by dashboard and
// panel, and why.
func empty() map[string]string {
	return map[string]string{
		"slicewatch-oom/oom_score_adj that is not its class's": "all containers have what they should",
		"slicewatch-container/Processes and threads":           "no container has a limit",
	}
}

// checkDashboards asks what gave nothing again until patience ends.
func checkDashboards(t *testing.T, s *server) {
	wanted, optional := map[string]string{}, 0
	for _, d := range dashboards.All() {
		for _, p := range d.Panels() {
			for i, q := range p.Queries {
				name := fmt.Sprintf("%s/%s", d.UID, p.Title)
				expr := dashboards.Expand(q.Expr, variables())
				if late(q.Expr) || empty()[name] != "" {
					optional++
					if _, err := s.ask(expr, 0); err != nil {
						t.Errorf("%s, query %d: %v", name, i, err)
					}
					continue
				}
				wanted[fmt.Sprintf("%s, query %d", name, i)] = expr
			}
		}
	}
	t.Logf("%d queries that want data, %d that may give none here", len(wanted), optional)
	s.wantData(t, wanted)
}

// wantData wants something from each of the expressions, by name, within
// patience.
func (s *server) wantData(t *testing.T, wanted map[string]string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Second) {
		for name, expr := range wanted {
			results, err := s.ask(expr, 0)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil || len(results) > 0 {
				delete(wanted, name)
			}
		}
		if len(wanted) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for name, expr := range wanted {
		t.Errorf("%s gives nothing: %s", name, expr)
	}
}

func checkRecords(t *testing.T, s *server) {
	file, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	// What is made of something that comes late comes late too.
	delayed, wanted := map[string]bool{}, map[string]string{}
	for _, r := range file.Records() {
		uses := families.Selectors(r.Expr)
		delayed[r.Record] = late(r.Expr) || slices.ContainsFunc(uses, func(u families.Selector) bool { return delayed[u.Name] })
		if !delayed[r.Record] {
			wanted[r.Record] = r.Record
		}
	}
	s.wantData(t, wanted)
}

// checkHealth holds that no rule failed when it was evaluated.
func checkHealth(t *testing.T, s *server) {
	var answer struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := json.Unmarshal([]byte(get(t, s.url+"/api/v1/rules")), &answer); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			seen++
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("%s: health %q, %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	file, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	if want := len(file.Alerts()) + len(file.Records()); seen != want {
		t.Errorf("%d rules were evaluated, want %d", seen, want)
	}
}

// checkAlerts holds that the cluster's troubles are found, those that must last
// for a while first as pending, and that nothing else is.
func checkAlerts(t *testing.T, s *server) {
	want := map[string]string{
		"leaky PodOOMKilled":               "firing",
		"worker ContainerMemoryHighStalls": "pending",
	}
	// No container is old enough for ContainerCPUThrottled: promtool's tests and
	// test/kubernetes/adoption have that.
	// Kills of the leaking container come every half a minute, and those of the
	// shell's child are by whichever limit is hit first. What the agent loses when
	// it starts on a busy machine is lost indeed.
	also := []string{" SlicewatchEventsLost", "leaky ContainerOOMKilledRepeatedly", "shell PodOOMKilled", "shell ContainerOOMKilled", "shell ContainerOOMKilledRepeatedly", "leaky ContainerOOMKilled"}
	got := map[string]string{}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		missing := 0
		for _, r := range s.query(t, "ALERTS", 0) {
			pod, _, _ := strings.Cut(r.Metric["pod"], "-")
			got[pod+" "+r.Metric["alertname"]] = r.Metric["alertstate"]
		}
		for alert := range want {
			if got[alert] == "" {
				missing++
			}
		}
		if missing == 0 {
			break
		}
	}
	for alert, state := range want {
		if got[alert] != state && got[alert] != "firing" {
			t.Errorf("%s is %q, want %s", alert, got[alert], state)
		}
	}
	for alert, state := range got {
		if want[alert] == "" && !slices.Contains(also, alert) && state == "firing" {
			t.Errorf("%s fires", alert)
		}
	}
	t.Logf("%v", slices.Sorted(maps.Keys(got)))
}
