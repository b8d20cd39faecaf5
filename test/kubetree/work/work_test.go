// SPDX-License-Identifier: Apache-2.0

package work_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func TestMainLeavesOthersAlone(t *testing.T) {
	for _, args := range [][]string{nil, {"demo"}, {"-test.v"}} {
		if _, ok := work.Main(args, nil); ok {
			t.Errorf("%v is taken for a workload", args)
		}
	}
}

func TestMainSaysWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"work":                   "one of spin, burst",
		"work nothing":           `no workload "nothing"`,
		"work spin colour=red":   "it takes threads=",
		"work spin threads":      "it takes threads=",
		"work spin threads=-1":   "threads=-1 is no whole number",
		"work spin duty=2":       "duty=2 is no share",
		"work hold bytes=16Q":    "bytes=16Q is no size",
		"work exit after=soon":   "after=soon is no duration",
		"work pool dist=normal":  "exp or pareto",
		"work together period=0": "never ends",
		"work over step=0":       "never gets anywhere",
		"work cache":             "file= must name a file",
		"work hold bytes=9999Gi": "map ",
	} {
		var said strings.Builder
		code, ok := work.Main(strings.Fields(line), &said)
		if !ok || code == 0 || !strings.Contains(said.String(), want) {
			t.Errorf("%s: code %d, %v, said %q; want %q", line, code, ok, said.String(), want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{"work exit after=0 code=7": 7, "work exit after=0": 0, "work hold bytes=64Ki for=1ms": 0} {
		if code, ok := work.Main(strings.Fields(line), t.Output()); code != want || !ok {
			t.Errorf("%s: code %d, want %d", line, code, want)
		}
	}
}

func TestSpinUsesItsBudget(t *testing.T) {
	cpu := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	before := cpu()
	if code, _ := work.Main(strings.Fields("work spin threads=2 cpu=60ms"), t.Output()); code != 0 {
		t.Fatalf("code %d", code)
	}
	if used := cpu() - before; used < 60*time.Millisecond {
		t.Errorf("used %v of CPU, want 60ms", used)
	}
}

// TestArrivalsUseTheirShare holds roughly how much CPU the processes of those
// workloads use that never end.
func TestArrivalsUseTheirShare(t *testing.T) {
	for line, want := range map[string]float64{
		"duty run=20ms sleep=60ms":                           0.25,
		"together threads=2 work=8ms period=40ms jitter=8ms": 0.4,
		"pool threads=2 rate=100 work=3ms":                   0.3,
		"pool threads=2 rate=100 work=3ms dist=pareto":       0.3,
	} {
		t.Run(line, func(t *testing.T) {
			began := time.Now()
			leader := start(t, line)
			// A busy machine gives less for a while, never more.
			for giveUp := began.Add(time.Minute); ; {
				before, from := childrenCPU(t, leader), time.Now()
				time.Sleep(400 * time.Millisecond)
				used := childrenCPU(t, leader)
				if most := time.Duration(2 * want * float64(time.Since(began))); used > most {
					t.Fatalf("%v of CPU within %v, want %v at most", used, time.Since(began), most)
				}
				share := float64(used-before) / float64(time.Since(from))
				if share > want/3 {
					break
				}
				if time.Now().After(giveUp) {
					t.Fatalf("%.3f of a CPU in the last window, want about %.3f in any", share, want)
				}
			}
		})
	}
}

// start runs a workload in a process group of its own, which it leads, until the
// test ends.
func start(t *testing.T, line string) (leader int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", work.Cmd(line).Argv(false)...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
	return cmd.Process.Pid
}

// childrenCPU returns what the processes of a group have used, but for its leader.
func childrenCPU(t *testing.T, leader int) (used time.Duration) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// After the name come state, parent and group.
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) < 3 || fields[2] != strconv.Itoa(leader) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == leader {
			continue
		}
		// The clock of another process' CPU time (clock_getcpuclockid(3)).
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
			t.Fatalf("the CPU time of process %d: %v", pid, err)
		}
		used += time.Duration(ts.Nano())
	}
	return used
}

func TestArgv(t *testing.T) {
	c := work.Cmd("spin threads=2  cpu=1s")
	if got, want := strings.Join(c.Argv(true), " "), "work -gate spin threads=2 cpu=1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if c := work.Cmd(" "); c.Kind != "" || len(c.Args) != 0 {
		t.Errorf("nothing is %+v", c)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "16Ki": 16384, "3Mi": 3 << 20, "2Gi": 2 << 30} {
		if got, err := work.ParseBytes(text); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Mi", "-1", "1M", "99999999999Gi"} {
		if got, err := work.ParseBytes(text); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}
