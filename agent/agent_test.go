// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slicewatch/slicewatch/agent"
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/version"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are for an agent on a recorded node.
func settings(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Paths.CgroupFS, cfg.Paths.ProcFS = fixturetree.Write(t, fixturetree.SystemdSteady)
	cfg.Paths.State = t.TempDir()
	cfg.NodeName = "node-a"
	cfg.Names.Kubernetes, cfg.Names.Containerd = "off", "off"
	cfg.Web.ListenAddresses = []string{"127.0.0.1:0"}
	return cfg
}

// running is an agent that works until the test is over or stop is called.
type running struct {
	*agent.Agent
	log  *logBuffer
	stop func() error
}

func run(t *testing.T, cfg config.Config) running {
	t.Helper()
	log := &logBuffer{}
	a, err := agent.New(cfg, slog.New(slog.NewTextHandler(log, nil)), version.Get("v1.2.3", "abc"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the agent failed: %v\n%s", err, log)
		}
	})
	r := running{a, log, stop}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, _ := r.get(t, "/-/ready"); status == http.StatusOK {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready:\n%s", log)
		}
	}
}

func (r running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%s%s", r.Addresses()[0], path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (r running) mustHave(t *testing.T, metrics string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics has no line %q", line)
		}
	}
}

func TestAgentOnARecordedNode(t *testing.T) {
	cfg := settings(t)
	r := run(t, cfg)
	status, metrics := r.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d", status)
	}
	r.mustHave(t, metrics,
		`slicewatch_cgroups{level="pod"} 8`,
		`slicewatch_source_up{source="cgroup_files"} 1`,
		`slicewatch_source_up{source="state"} 1`,
		`slicewatch_unidentified_containers 11`,
		`slicewatch_flight_recorder_containers 11`,
	)
	if got := strings.Count(metrics, "\nslicewatch_oom_kills_total{"); got != 2*11 {
		t.Errorf("%d series of OOM kills, want those of two scopes for each container from the start", got)
	}
	if strings.Contains(metrics, `source="kubernetes"`) {
		t.Error("a source that is switched off must not be exported as down")
	}
	if !strings.Contains(metrics, `slicewatch_build_info{goarch=`) || !strings.Contains(metrics, `version="v1.2.3"`) {
		t.Error("no build info")
	}
	if status, body := r.get(t, "/metrics/cadvisor"); status != http.StatusOK || !strings.Contains(body, "container_cpu_usage_seconds_total{") {
		t.Errorf("/metrics/cadvisor: status %d", status)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	// The counters outlive the agent.
	files, err := filepath.Glob(filepath.Join(cfg.Paths.State, "counters.?"))
	if err != nil || len(files) != 2 {
		t.Fatalf("state files %v, %v", files, err)
	}
	before := metrics
	if len(counters(before)) == 0 {
		t.Fatal("no counters")
	}
	again := run(t, cfg)
	_, metrics = again.get(t, "/metrics")
	if diff := cmp.Diff(counters(before), counters(metrics)); diff != "" {
		t.Errorf("counters over a restart of the agent on a node that stands still (-before +after):\n%s", diff)
	}
}

// counters returns the counters of cgroups in an exposition.
func counters(metrics string) []string {
	var lines []string
	for line := range strings.Lines(metrics) {
		for _, level := range []string{"container", "pod", "qos", "kubepods"} {
			if strings.HasPrefix(line, "slicewatch_"+level+"_") && strings.Contains(line, "_total{") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func TestWithoutAStateDirectory(t *testing.T) {
	cfg := settings(t)
	cfg.Paths.State = filepath.Join(cfg.Paths.CgroupFS, "cgroup.controllers") // a file
	r := run(t, cfg)
	_, metrics := r.get(t, "/metrics")
	r.mustHave(t, metrics, `slicewatch_source_up{source="state"} 0`, `slicewatch_source_up{source="cgroup_files"} 1`)
	if !strings.Contains(r.log.String(), "counters will not survive") {
		t.Errorf("the log does not tell:\n%s", r.log)
	}
}

func TestTwoAgentsWithOneStateDirectory(t *testing.T) {
	cfg := settings(t)
	run(t, cfg)
	second := run(t, cfg)
	_, metrics := second.get(t, "/metrics")
	second.mustHave(t, metrics, `slicewatch_source_up{source="state"} 0`)
	if !strings.Contains(second.log.String(), "another slicewatch agent uses this state directory") {
		t.Errorf("the log does not tell:\n%s", second.log)
	}
}

func TestStateThatCannotBeRead(t *testing.T) {
	cfg := settings(t)
	for _, name := range []string{"counters.0", "counters.1"} {
		if err := os.WriteFile(filepath.Join(cfg.Paths.State, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, cfg)
	_, metrics := r.get(t, "/metrics")
	r.mustHave(t, metrics, `slicewatch_source_up{source="state"} 1`)
	if aside, _ := filepath.Glob(filepath.Join(cfg.Paths.State, "*.unreadable-*")); len(aside) != 2 {
		t.Errorf("set aside: %v", aside)
	}
}

func TestWhatAnOperatorHasToMend(t *testing.T) {
	taken := run(t, settings(t)).Addresses()[0].String()
	for name, c := range map[string]struct {
		spoil func(*config.Config)
		want  []string
	}{
		"port taken":        {func(c *config.Config) { c.Web.ListenAddresses = []string{taken} }, []string{taken, "--web.listen-address"}},
		"no cgroup root":    {func(c *config.Config) { c.Paths.CgroupFS = "/does/not/exist" }, []string{"/does/not/exist", "--path.cgroupfs"}},
		"not a cgroup root": {func(c *config.Config) { c.Paths.CgroupFS = t.TempDir() }, []string{"cannot be used as cgroup root", "--path.cgroupfs"}},
		"no proc":           {func(c *config.Config) { c.Paths.ProcFS = "/does/not/exist" }, []string{"/does/not/exist", "--path.procfs"}},
		"no web config":     {func(c *config.Config) { c.Web.ConfigFile = "/does/not/exist" }, []string{"/does/not/exist", "--web.config.file"}},
		"no API server to ask": {
			func(c *config.Config) { c.Web.Auth, c.Names.Kubeconfig = "kubernetes", "/does/not/exist" },
			[]string{"--web.auth=kubernetes", "/does/not/exist", "--kubeconfig"},
		},
		"health port taken": {func(c *config.Config) { c.Web.HealthAddress = taken }, []string{taken, "--web.health-address"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t)
			c.spoil(&cfg)
			_, err := agent.New(cfg, slog.New(slog.DiscardHandler), version.Info{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %q: %v", want, err)
				}
			}
		})
	}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
