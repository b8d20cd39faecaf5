// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/agent/history"
	agentsizing "github.com/slicewatch/slicewatch/agent/sizing"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// node is the part of the agent that makes hints, with a sweep a second of the
// one container that there is.
type node struct {
	t       *testing.T
	advisor *agentsizing.Advisor
	store   *history.Store
	reader  *cgroupfs.FileReader
	facts   snapshot.Node
	ooms    []*snapshot.OOMRecord
	latest  *snapshot.Snapshot
	records *quota.Records // of the newest window
}

// settings ask for the smallest limit: the burstable policy's is at least twice
// the request as well.
func settings() hints.Settings { return hints.Settings{Policy: hints.Guaranteed} }

// newNode returns one that has the kernel's records of periods, or polls alone.
func newNode(t *testing.T, exact bool) *node {
	t.Helper()
	reader, err := cgroupfs.NewFileReader(mount, cgroupfs.FileReaderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, reader: reader, store: history.NewStore(history.Config{})}
	cfg := agentsizing.Config{
		Settings: settings(), Store: n.store, Stats: agentsizing.CgroupStats{Root: mount}, Logger: slog.New(slog.DiscardHandler),
		OnWindow: func(r *quota.Records) { n.records = r },
	}
	if exact {
		periods := durations.OpenPeriods()
		t.Cleanup(func() { _ = periods.Close() }) // after Run has ended
		if status := periods.Status(); !status.Up() {
			t.Fatal(status.Err)
		}
		cfg.Periods = agentsizing.KernelPeriods{Periods: periods}
	}
	n.advisor = agentsizing.New(cfg)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	n.facts.CPUs = snapshot.Amount{N: int64(runtime.NumCPU()), Known: true}
	n.facts.MemoryBytes = snapshot.Amount{N: int64(info.Totalram), Known: true}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.advisor.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = reader.Close()
	})
	return n
}

// sweep reads the container and returns the hint for it.
func (n *node) sweep(c *container) *snapshot.Hint {
	n.t.Helper()
	is := c.is
	if err := n.reader.ReadAll(c.cgroup, &is.Current); err != nil {
		n.t.Fatal(err)
	}
	is.Total = is.Current
	n.latest = &snapshot.Snapshot{Taken: time.Now(), Node: n.facts, Containers: []snapshot.Container{is}, OOMRecords: n.ooms}
	n.advisor.Fill(n.latest)
	return n.latest.Containers[0].Hint
}

// sweepUntil sweeps once a second until done, at most for so long.
func (n *node) sweepUntil(c *container, atMost time.Duration, done func() bool) *snapshot.Hint {
	n.t.Helper()
	hint := n.sweep(c)
	for next := time.Now(); !done(); {
		if atMost -= time.Second; atMost < 0 {
			n.t.Fatalf("not in time; %+v, %+v", n.latest.Hints, hint)
		}
		next = next.Add(time.Second)
		time.Sleep(time.Until(next))
		hint = n.sweep(c)
	}
	return hint
}

// window lets the agent see a window through and returns the hint after it.
func (n *node) window(c *container) *snapshot.Hint {
	n.t.Helper()
	before := uint64(0)
	if n.latest != nil {
		before = n.latest.Hints.Windows
	}
	return n.sweepUntil(c, 3*time.Minute, func() bool { return n.latest.Hints.Windows > before })
}

// newestWindow is what the last window said.
func (n *node) newestWindow(c *container) history.Window {
	return n.history(c).Throttling(time.Now()).Newest
}

func (n *node) history(c *container) *history.Series {
	n.t.Helper()
	id := c.is.Identity
	s := n.store.Find(history.Key{Namespace: id.Namespace, WorkloadKind: id.WorkloadKind, Workload: id.Workload, Container: id.Name})
	if s == nil {
		n.t.Fatalf("no history of %s", id.Workload)
	}
	return s
}

// asked returns what the hint would be if nothing was held.
func (n *node) asked(c *container) snapshot.Hint {
	facts := hints.Facts{NodeCPUs: snapshot.Quantity{V: float64(n.facts.CPUs.N), Known: true}}
	return hints.Compute(n.history(c), facts, settings(), time.Now())
}

func has(h *snapshot.Hint, code snapshot.ReasonCode) bool {
	for _, r := range h.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

func sentences(h *snapshot.Hint) string {
	var b strings.Builder
	for _, r := range h.Reasons {
		fmt.Fprintf(&b, "\n  %s: %s", r.Code, r.Text)
	}
	return b.String()
}

// instructionClock says whether time passes as instructions do: QEMU's several
// processors are given their ticks one after another then, and only then.
func instructionClock() bool {
	words, err := os.ReadFile("/proc/cmdline")
	return err == nil && strings.Contains(string(words), "skew_tick=1")
}

// tell logs a result, and writes it to the console at once: a test's output comes
// when the test has ended.
func tell(t *testing.T, r Row) {
	t.Helper()
	t.Log(r.Line())
	// Who does not look at the console misses nothing.
	_ = os.WriteFile("/dev/console", fmt.Appendf(nil, "%s: L* %.3f, %.2f of it: hint %.2f (exact: %t), then %.1f %%, second %.2f, shown %.2f; %q\r\n",
		r.Shape, r.Enough, r.Share, r.Hint, r.Exact, 100*r.After, r.Newest, r.Published, r.Misses()), 0)
}

// machine says what this ran on.
func machine() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	release := string(bytes.TrimRight(name.Release[:], "\x00"))
	clock := "clock of the host"
	if instructionClock() {
		clock = InstructionClock
	}
	return fmt.Sprintf("Linux %s, %s, %d CPUs, %s", release, runtime.GOARCH, runtime.NumCPU(), clock)
}
