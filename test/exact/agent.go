// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/slicewatch/slicewatch/agent"
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/version"
)

// agentWord is the argument that makes a test binary the agent.
const agentWord = "be-the-agent"

// AgentMain runs the agent if the arguments say so; it returns false if not.
func AgentMain(args []string) bool {
	if len(args) != 2 || args[0] != agentWord {
		return false
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := runAgent(args[1], logger); err != nil {
		logger.Error("the agent failed", "error", err)
		os.Exit(1)
	}
	return true
}

func runAgent(settings string, logger *slog.Logger) error {
	cfg := config.Default()
	if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
		return err
	}
	a, err := agent.New(cfg, logger, version.Get("test", "test"))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	return a.Run(ctx)
}

// Agent is an agent in a process of its own, which can be killed.
type Agent struct {
	Config config.Config
	cmd    *exec.Cmd
	log    *lockedBuffer
	ended  chan struct{}
}

// StartAgent starts an agent on a free port and waits until it has swept once.
func StartAgent(cfg config.Config) (*Agent, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cfg.Web.ListenAddresses = []string{fmt.Sprintf("127.0.0.1:%d", port)}
	cfg.NodeName = "test"
	settings, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	a := &Agent{Config: cfg, log: &lockedBuffer{}, ended: make(chan struct{})}
	a.cmd = exec.Command("/proc/self/exe", agentWord, string(settings))
	a.cmd.Stderr = a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	go func() {
		defer close(a.ended)
		_ = a.cmd.Wait() // how it ended shows in its log
	}()
	for deadline := time.Now().Add(60 * time.Second); ; {
		if _, err = a.Scrape("/-/ready"); err == nil {
			return a, nil
		}
		select {
		case <-a.ended:
			return nil, fmt.Errorf("the agent ended at once:\n%s", a.Log())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("the agent is not ready: %w\n%s", err, a.Log()), a.Kill())
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// PID is the agent's process.
func (a *Agent) PID() int { return a.cmd.Process.Pid }

// Log is what the agent logged so far.
func (a *Agent) Log() string { return a.log.String() }

// Kill ends the agent without a chance to do anything (SIGKILL).
func (a *Agent) Kill() error {
	err := a.cmd.Process.Kill()
	<-a.ended
	return err
}

// Scrape fetches a page.
func (a *Agent) Scrape(path string) ([]byte, error) {
	resp, err := http.Get("http://" + a.Config.Web.ListenAddresses[0] + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", path, resp.Status, body.String())
	}
	return body.Bytes(), nil
}

// Metrics scrapes a path and returns the series whose names start with one of
// the prefixes.
func (a *Agent) Metrics(path string, prefixes ...string) (Series, error) {
	body, err := a.Scrape(path)
	if err != nil {
		return nil, err
	}
	return Parse(body, prefixes...)
}

// Parse reads an exposition. A series that is there twice is an error.
func Parse(text []byte, prefixes ...string) (Series, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("parse the exposition: %w", err)
	}
	series := Series{}
	for name, family := range families {
		if !hasPrefix(name, prefixes) || family.GetType() == dto.MetricType_HISTOGRAM || family.GetType() == dto.MetricType_SUMMARY {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			key := labelled(name, labels)
			if _, twice := series[key]; twice {
				return nil, fmt.Errorf("the series %s is there twice", key)
			}
			series[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return series, nil
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
