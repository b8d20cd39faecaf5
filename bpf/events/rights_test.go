// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// fewRightsEnv makes the test binary a reader of events below the cgroup whose
// id it holds, until its standard input ends. It then writes what it was told.
const fewRightsEnv = "SLICEWATCH_TEST_FEW_RIGHTS"

type report struct {
	Capabilities   string
	Hows, Reasons  []string
	Births, Deaths int
	Kills          []events.Kill
	OOM            events.Tally
}

func withFewRights() int {
	var kubepods uint64
	if _, err := fmt.Sscan(os.Getenv(fewRightsEnv), &kubepods); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	r, err := events.Open(events.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer r.Close()
	if err := r.SetKubepods(kubepods); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	var got recorder
	r.Drain(&got)
	out := report{Births: len(got.births), Deaths: len(got.deaths), Kills: got.kills}
	_, out.OOM = r.Tallies()
	for _, s := range r.Status() {
		var why *bpf.Unavailable
		errors.As(s.Err, &why)
		if why != nil {
			out.Reasons = append(out.Reasons, s.Program+": "+string(why.Reason))
		}
		out.Hows = append(out.Hows, s.How)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff:") {
			out.Capabilities = strings.TrimSpace(line)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

// startWith starts this binary as a reader with no other capabilities.
func startWith(t *testing.T, kubepods uint64, capabilities ...int) (stop func() report) {
	t.Helper()
	type started struct {
		cmd *exec.Cmd
		in  io.WriteCloser
		out io.ReadCloser
		err error
	}
	begun := make(chan started)
	go func() {
		// Never unlocked: the thread with the smaller bounding set ends here.
		runtime.LockOSThread()
		var s started
		defer func() { begun <- s }()
		for c := range 64 {
			keep := false
			for _, k := range capabilities {
				keep = keep || k == c
			}
			if keep {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && c <= unix.CAP_CHECKPOINT_RESTORE {
				s.err = err
				return
			}
		}
		s.cmd = exec.Command("/proc/self/exe")
		s.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", fewRightsEnv, kubepods))
		s.cmd.Stderr = os.Stderr
		s.in, _ = s.cmd.StdinPipe()
		s.out, _ = s.cmd.StdoutPipe()
		s.err = s.cmd.Start()
	}()
	s := <-begun
	if s.err != nil {
		t.Fatal(s.err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(s.out, ready); err != nil {
		t.Fatalf("the reader with few rights did not get ready: %v (%v)", err, s.cmd.Wait())
	}
	return func() report {
		s.in.Close()
		var r report
		if err := json.NewDecoder(s.out).Decode(&r); err != nil {
			t.Error(err)
		}
		if err := s.cmd.Wait(); err != nil {
			t.Error(err)
		}
		return r
	}
}

// CAP_BPF and CAP_PERFMON are enough; only kprobes want more where
// perf_event_paranoid is 3, and then the limit that was hit is not told.
func TestWithTwoCapabilities(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	stop := startWith(t, idOf(t, tree.Kubepods()), unix.CAP_BPF, unix.CAP_PERFMON)
	v := newVictims(t, tree)
	full, err := events.Open(events.Config{})
	if err != nil {
		t.Fatal(err)
	}
	needsKprobe := strings.Contains(full.Status()[1].How, "kprobe/")
	if err := full.Close(); err != nil {
		t.Error(err)
	}
	v.limits = !needsKprobe || paranoia(t) < 3
	v.ownLimit("own", 3, false)
	v.groups("pairs", 2)
	v.children("children", 3)
	v.podLimit("pods", 2)
	time.Sleep(100 * time.Millisecond)
	got := stop()
	t.Logf("%s: %q, without %q, OOM %+v", got.Capabilities, got.Hows, got.Reasons, got.OOM)
	v.compare(got.Kills)
	// 4 pods, each with its sandbox and a keeper, and 3 + 2 + 1 + 2 containers.
	if want := 4*3 + 8; got.Births != want || got.Deaths != want {
		t.Errorf("%d births and %d deaths, want %d", got.Births, got.Deaths, want)
	}
	if !v.limits && (len(got.Reasons) != 1 || got.Reasons[0] != "oom: "+string(bpf.Paranoid)) {
		t.Errorf("reasons %q, want that kprobes are restricted", got.Reasons)
	}
}

func paranoia(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		t.Fatal(err)
	}
	var level int
	if _, err := fmt.Sscan(string(text), &level); err != nil {
		t.Fatal(err)
	}
	return level
}
