// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/slicewatch/slicewatch/test/bench/benchresult"
)

const (
	agentBinary  = "/bin/slicewatch"
	agentAddress = "127.0.0.1:9779"
	agentCgroup  = cgroupRoot + "/bench-agent"
	// scrapes are spread over one minute.
	scrapes = 12
)

// runAgent runs the real agent, in a cgroup of its own, and measures it from
// outside: some minutes alone, then with scrapes.
func runAgent(flags ...string) (a benchresult.Agent, err error) {
	cmd, stop, err := startAgent(flags)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := awaitReady(); err != nil {
		return a, err
	}
	// Until everything was read at least once in its turn, and garbage was
	// collected.
	time.Sleep(time.Minute)
	alone, err := cpuOver(func() error { time.Sleep(time.Minute); return nil })
	if err != nil {
		return a, err
	}
	text, err := fetch() // the first one builds what later ones reuse
	if err != nil {
		return a, err
	}
	scraped, err := cpuOver(func() error {
		for range scrapes {
			time.Sleep(time.Minute / scrapes)
			if _, err := fetch(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	a.SweepNanos, a.ScrapeNanos = alone/60, (scraped-alone)/scrapes
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			a.Series++
		}
		if v, ok := strings.CutPrefix(line, "slicewatch_cgroup_files_open "); ok {
			a.KeptFiles, _ = strconv.Atoi(strings.TrimSpace(v)) // 0 shows in the table
		}
	}
	return a, weigh(cmd.Process.Pid, &a)
}

func startAgent(flags []string) (cmd *exec.Cmd, stop func() error, err error) {
	if err := os.Mkdir(agentCgroup, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make the agent's cgroup: %w", err)
	}
	dir, err := os.Open(agentCgroup)
	if err != nil {
		return nil, nil, fmt.Errorf("open the agent's cgroup: %w", err)
	}
	defer dir.Close()
	state, err := os.MkdirTemp("", "state")
	if err != nil {
		return nil, nil, fmt.Errorf("make the agent's folder: %w", err)
	}
	cmd = exec.Command(agentBinary, append([]string{"agent", "--kubernetes=off", "--containerd=off", "--node.name=bench",
		"--path.state=" + state, "--web.listen-address=" + agentAddress}, flags...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the agent: %w", err)
	}
	return cmd, func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stop the agent: %w", err)
		}
		return errors.Join(cmd.Wait(), os.Remove(agentCgroup))
	}, nil
}

func awaitReady() error {
	var last error
	for range 300 {
		response, err := http.Get("http://" + agentAddress + "/-/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		last = err
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("wait for the agent: %w", last)
}

// fetch scrapes as Prometheus does and returns the text.
func fetch() (string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+agentAddress+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("scrape the agent: %w", err)
	}
	defer response.Body.Close()
	unpacked, err := gzip.NewReader(response.Body)
	if err != nil {
		return "", fmt.Errorf("scrape the agent: %w", err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		return "", fmt.Errorf("scrape the agent: %w", err)
	}
	return string(text), nil
}

// cpuOver returns the nanoseconds of CPU that the agent's cgroup used while f
// ran.
func cpuOver(f func() error) (float64, error) {
	before, err := number("cpu.stat", "usage_usec")
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := number("cpu.stat", "usage_usec")
	return 1000 * (after - before), err
}

// number reads a number of the agent's cgroup; the key of a lone value is empty.
func number(file, key string) (float64, error) {
	return numberIn(filepath.Join(agentCgroup, file), key)
}

func numberIn(path, key string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		switch {
		case key == "" && len(words) == 1:
			return strconv.ParseFloat(words[0], 64)
		case len(words) > 1 && words[0] == key:
			return strconv.ParseFloat(words[1], 64)
		}
	}
	return 0, fmt.Errorf("%s has no %q", path, key)
}

// weigh fills in what the agent holds.
func weigh(pid int, a *benchresult.Agent) error {
	process := fmt.Sprintf("/proc/%d/", pid)
	for _, m := range []struct {
		to        *float64
		path, key string
		times     float64
	}{
		{&a.ResidentBytes, process + "status", "VmRSS:", 1024},
		{&a.AnonBytes, process + "status", "RssAnon:", 1024},
		{&a.PeakBytes, process + "status", "VmHWM:", 1024},
		{&a.CgroupBytes, agentCgroup + "/memory.current", "", 1},
		{&a.KernelBytes, agentCgroup + "/memory.stat", "kernel", 1},
	} {
		v, err := numberIn(m.path, m.key)
		if err != nil {
			return err
		}
		*m.to = v * m.times
	}
	open, err := os.ReadDir(process + "fd")
	a.Descriptors = len(open)
	return err
}
