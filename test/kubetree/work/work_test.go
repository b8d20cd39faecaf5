// SPDX-License-Identifier: Apache-2.0

package work_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

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
