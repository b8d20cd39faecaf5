// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// machineEnv names the environment variable that has the machine to boot.
const machineEnv = "SLICEWATCH_TEST_MACHINE"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// boot starts the machine that the tests here share the making of.
func boot(t *testing.T, change func(*Config)) *Machine {
	t.Helper()
	arch, suite, ok := strings.Cut(os.Getenv(machineEnv), "-")
	if !ok {
		t.Skipf("boots a machine in emulation: set %s, for example to arm64-trixie", machineEnv)
	}
	helper := filepath.Join(t.TempDir(), "helper")
	if _, err := command(t.Context(), "", "env", "CGO_ENABLED=0", "GOARCH="+arch, "go", "build", "-o", helper, "./testdata/helper"); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Arch: arch, Suite: suite, Files: map[string]string{"/bin/helper": helper}, Progress: t.Output()}
	if change != nil {
		change(&cfg)
	}
	m, err := Start(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted in %v", m.BootTime())
	t.Cleanup(func() {
		_ = m.Close()
		if t.Failed() {
			t.Log(m.console.Tail())
		}
	})
	return m
}

func TestMachine(t *testing.T) {
	m := boot(t, func(c *Config) {
		c.SwapMiB = 64
		c.Append = []string{"psi=1"}
	})
	t.Run("Output", func(t *testing.T) { testOutput(t, m) })
	t.Run("Environment", func(t *testing.T) { testEnvironment(t, m) })
	t.Run("NoSuchProgram", func(t *testing.T) {
		code, err := m.Run(t.Context(), Command{Path: "/bin/none"}, nil, nil)
		if code != -1 || err == nil || !strings.Contains(err.Error(), "/bin/none") {
			t.Errorf("status %d, error %v; want -1 and an error that names the program", code, err)
		}
	})
	t.Run("Signal", func(t *testing.T) { testSignal(t, m) })
	t.Run("ContextKills", func(t *testing.T) { testContextKills(t, m) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, m) })
	t.Run("Orphan", func(t *testing.T) { testOrphan(t, m) })
	t.Run("Files", func(t *testing.T) { testFiles(t, m) })
	t.Run("Swap", func(t *testing.T) {
		text, err := m.ReadFile(t.Context(), "/proc/swaps")
		if err != nil || !strings.Contains(string(text), "/dev/vda") {
			t.Errorf("swaps %q, error %v; want /dev/vda", text, err)
		}
	})
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if !strings.Contains(m.Console(), "Power down") {
		t.Errorf("no orderly power-off; %s", m.console.Tail())
	}
	if _, err := m.Run(t.Context(), Command{Path: "/bin/helper"}, nil, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("run after the end: error %v, want ErrEnded", err)
	}
}

func testOutput(t *testing.T, m *Machine) {
	var out, errs bytes.Buffer
	code, err := m.Run(t.Context(), Command{Path: "/bin/helper", Args: []string{"say", "to stdout", "to stderr", "7"}}, &out, &errs)
	if err != nil || code != 7 || out.String() != "to stdout\n" || errs.String() != "to stderr\n" {
		t.Errorf("status %d, stdout %q, stderr %q, error %v", code, out.String(), errs.String(), err)
	}
	out.Reset()
	cmd := Command{Path: "/bin/helper", Args: []string{"say", "first", "second", "0"}, MergeOutput: true}
	if _, err := m.Run(t.Context(), cmd, &out, nil); err != nil || out.String() != "first\nsecond\n" {
		t.Errorf("merged output %q, error %v", out.String(), err)
	}
}

func testEnvironment(t *testing.T, m *Machine) {
	var out bytes.Buffer
	cmd := Command{Path: "helper", Args: []string{"env"}, Env: []string{"COLOUR=blue"}, Dir: "/tmp", Cgroup: "/sys/fs/cgroup/a.slice/b"}
	if code, err := m.Run(t.Context(), cmd, &out, nil); code != 0 || err != nil {
		t.Fatalf("status %d, error %v", code, err)
	}
	for _, want := range []string{"COLOUR=blue\n", "IN_TEST_MACHINE=1\n", "PATH=/bin", "dir=/tmp\n", "cgroup=0::/a.slice/b\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func testSignal(t *testing.T, m *Machine) {
	p, err := m.Start(t.Context(), Command{Path: "/bin/helper", Args: []string{"wait"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadFile(t.Context(), fmt.Sprintf("/proc/%d/stat", p.PID())); err != nil {
		t.Errorf("the process is not there: %v", err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(); code != 128+9 || err != nil {
		t.Errorf("status %d, error %v; want 137", code, err)
	}
}

func testContextKills(t *testing.T, m *Machine) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := m.Start(ctx, Command{Path: "/bin/helper", Args: []string{"wait"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if code, err := p.Wait(); code != 137 || !errors.Is(err, context.Canceled) {
		t.Errorf("status %d, error %v; want 137 and context.Canceled", code, err)
	}
	if _, err := m.ReadFile(t.Context(), fmt.Sprintf("/proc/%d/stat", p.PID())); err == nil {
		t.Error("the process is still there")
	}
}

func testConcurrent(t *testing.T, m *Machine) {
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			var out bytes.Buffer
			code, err := m.Run(t.Context(), Command{Path: "/bin/helper", Args: []string{"zeros", "2"}}, &out, nil)
			if code != 0 || err != nil || out.Len() != 2<<20 {
				t.Errorf("command %d: status %d, %d bytes, error %v", i, code, out.Len(), err)
			}
		})
	}
	group.Wait()
}

// testOrphan: a process that a command leaves behind neither keeps Run waiting
// nor lives on.
func testOrphan(t *testing.T, m *Machine) {
	var out bytes.Buffer
	code, err := m.Run(t.Context(), Command{Path: "/bin/helper", Args: []string{"orphan"}}, &out, nil)
	if code != 0 || err != nil {
		t.Fatalf("status %d, error %v", code, err)
	}
	pid, _, _ := strings.Cut(out.String(), "\n")
	for range 50 {
		if _, err := m.ReadFile(t.Context(), "/proc/"+pid+"/stat"); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("process %s is still there, or a zombie", pid)
}

func testFiles(t *testing.T, m *Machine) {
	here := filepath.Join(t.TempDir(), "data")
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(here, want, 0o750); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := m.Push(t.Context(), here, "/data/deep/file"); err != nil {
		t.Fatal(err)
	}
	t.Logf("pushed 1 MiB in %v", time.Since(begin))
	back := here + ".back"
	if err := m.Pull(t.Context(), "/data/deep/file", back); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %d went; error %v", len(got), len(want), err)
	}
	if err := m.WriteFile(t.Context(), "/sys/fs/cgroup/a.slice/pids.max", []byte("17"), 0); err != nil {
		t.Error(err)
	}
	if got, err := m.ReadFile(t.Context(), "/sys/fs/cgroup/a.slice/pids.max"); string(got) != "17\n" {
		t.Errorf("pids.max %q, error %v; want 17", got, err)
	}
	if err := m.WriteFile(t.Context(), "/sys/fs/cgroup/a.slice/pids.max", []byte("lots"), 0); err == nil {
		t.Error("writing nonsense into a control file gave no error")
	}
	if err := m.Pull(t.Context(), "/none", back); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("error %v; want one that names the file", err)
	}
}

func TestKernelPanicIsReported(t *testing.T) {
	m := boot(t, nil)
	p, err := m.Start(t.Context(), Command{Path: "/bin/helper", Args: []string{"wait"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel is gone before it can say that the file was written.
	_ = m.WriteFile(t.Context(), "/proc/sysrq-trigger", []byte("c"), 0)
	if _, err := p.Wait(); !errors.Is(err, ErrKernelFailed) {
		t.Errorf("the running command's error is %v, want ErrKernelFailed", err)
	}
	select {
	case <-m.Done():
	case <-time.After(time.Minute):
		t.Error("the machine did not end")
	}
	if err := m.Close(); !errors.Is(err, ErrKernelFailed) {
		t.Errorf("close: %v, want ErrKernelFailed", err)
	}
}

func TestTimeoutEndsTheMachine(t *testing.T) {
	m := boot(t, func(c *Config) { c.Timeout = time.Minute })
	code, err := m.Run(t.Context(), Command{Path: "/bin/helper", Args: []string{"wait"}}, nil, nil)
	if code != -1 || !errors.Is(err, ErrEnded) {
		t.Errorf("status %d, error %v; want -1 and ErrEnded", code, err)
	}
}

func TestForwardAndInstructionClock(t *testing.T) {
	m := boot(t, func(c *Config) {
		c.InstructionClock = true
		// The init program's own port will do.
		c.Forwards = []Forward{{GuestPort: 10779}}
	})
	if m.HostPort(10779) == 0 || m.HostPort(1) != 0 {
		t.Errorf("forwarded to %d and %d", m.HostPort(10779), m.HostPort(1))
	}
	m.ports[0] = m.HostPort(10779)
	testOutput(t, m)
	testConcurrent(t, m)
}

func TestImpossibleMachines(t *testing.T) {
	boot(t, nil).Close()
	arch, suite, _ := strings.Cut(os.Getenv(machineEnv), "-")
	tests := map[string]struct {
		cfg  Config
		want string
	}{
		"module":       {Config{Modules: []string{"flux_capacitor"}}, "no module flux_capacitor"},
		"file":         {Config{Files: map[string]string{"/x": "/does/not/exist"}}, "/does/not/exist"},
		"memory":       {Config{MemoryMiB: 64}, "MiB of memory"},
		"boot timeout": {Config{BootTimeout: time.Millisecond}, "not ready within"},
		"no init":      {Config{Append: []string{"rdinit=/none"}, BootTimeout: 20 * time.Second}, "console"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.cfg.Arch, test.cfg.Suite = arch, suite
			m, err := Start(t.Context(), test.cfg)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want one with %q", err, test.want)
			}
		})
	}
}
