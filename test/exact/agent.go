// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"bytes"
	"errors"
	"fmt"
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
	"golang.org/x/sys/unix"
)

// agentBinary is where `vmtest -commands ./cmd/slicewatch` puts the agent.
const agentBinary = "/bin/slicewatch"

// readyTime is how long the first sweep may take: of 20,000 cgroups, emulated, it
// takes more than a minute.
const readyTime = 5 * time.Minute

// ErrNoBinary says that there is no agent to run.
var ErrNoBinary = errors.New("no agent at " + agentBinary + ": run this with vmtest -commands ./cmd/slicewatch")

// Config is what the tests vary of the agent.
type Config struct {
	StateDir       string
	SampleInterval time.Duration // 0: the agent's default
	// Flags are further arguments.
	Flags []string
	// OpenFiles is the process's RLIMIT_NOFILE; 0 leaves it alone.
	OpenFiles uint64
	// CgroupFS is --path.cgroupfs; empty is the agent's default.
	CgroupFS string
	// UID is the user and the group that the agent runs as.
	UID uint32
}

func (c Config) args(port int) []string {
	args := []string{
		"agent", fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--path.state=" + c.StateDir,
		"--metrics.detail=all", "--node.name=test", "--kubernetes=off", "--containerd=off",
	}
	if c.SampleInterval != 0 {
		args = append(args, "--sample.interval="+c.SampleInterval.String())
	}
	if c.CgroupFS != "" {
		args = append(args, "--path.cgroupfs="+c.CgroupFS)
	}
	return append(args, c.Flags...)
}

// Agent is an agent in a process of its own, which can be killed.
type Agent struct {
	Config  Config
	Address string
	cmd     *exec.Cmd
	log     *lockedBuffer
	ended   chan struct{}
}

// StartAgent starts an agent on a free port and waits until it has swept once.
// The error is ErrNoBinary if there is no agent to start.
func StartAgent(cfg Config) (*Agent, error) {
	if _, err := os.Stat(agentBinary); err != nil {
		return nil, ErrNoBinary
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	a := &Agent{Config: cfg, Address: fmt.Sprintf("127.0.0.1:%d", port), log: &lockedBuffer{}, ended: make(chan struct{})}
	a.cmd = exec.Command(agentBinary, cfg.args(port)...)
	a.cmd.Stderr = a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: cfg.UID, Gid: cfg.UID},
	}
	if err := a.begin(); err != nil {
		return nil, err
	}
	go func() {
		defer close(a.ended)
		_ = a.cmd.Wait() // how it ended shows in its log
	}()
	for deadline := time.Now().Add(readyTime); ; {
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

// begin starts the process, with its limit on open files.
func (a *Agent) begin() error {
	if a.Config.OpenFiles == 0 {
		if err := a.cmd.Start(); err != nil {
			return fmt.Errorf("start the agent: %w", err)
		}
		return nil
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return fmt.Errorf("ask for the limit on open files: %w", err)
	}
	// Children inherit this process's limit, so it is lowered for the moment of
	// the start.
	lower := unix.Rlimit{Cur: a.Config.OpenFiles, Max: a.Config.OpenFiles}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &lower, nil); err != nil {
		return fmt.Errorf("lower the limit on open files: %w", err)
	}
	err := a.cmd.Start()
	if back := unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil); back != nil {
		err = errors.Join(err, back)
	}
	if err != nil {
		return fmt.Errorf("start the agent with %d open files: %w", a.Config.OpenFiles, err)
	}
	return nil
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
	resp, err := http.Get("http://" + a.Address + path)
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
