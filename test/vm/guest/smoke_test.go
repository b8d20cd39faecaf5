// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// requireMachine: these tests are of the machine that the init program makes.
func requireMachine(t *testing.T) {
	t.Helper()
	if os.Getenv(wire.MarkerEnv) == "" {
		t.Skip("tests the inside of a test machine: go run ./test/vm/cmd/vmtest ./test/vm/guest")
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestControllersAreEnabled(t *testing.T) {
	requireMachine(t)
	enabled := strings.Fields(readText(t, cgroupRoot+"/cgroup.subtree_control"))
	for _, want := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		if !slices.Contains(enabled, want) {
			t.Errorf("controller %s is not enabled; those are: %v", want, enabled)
		}
	}
}

func TestKernelHasWhatTestsNeed(t *testing.T) {
	requireMachine(t)
	for _, path := range []string{
		"/sys/kernel/btf/vmlinux", "/proc/pressure/memory", "/sys/kernel/tracing/events/sched",
		"/sys/kernel/debug/sched", "/proc/self/ns/cgroup", "/dev/null", "/dev/fd/0",
	} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{"/tmp", "/run", "/dev/shm", "/sys/fs/bpf"} {
		probe := filepath.Join(dir, "probe")
		if err := os.Mkdir(probe, 0o755); err != nil {
			t.Error(err)
			continue
		}
		if err := os.Remove(probe); err != nil {
			t.Error(err)
		}
	}
}

// TestCgroupIsCharged: a cgroup can be made, joined and limited, and its
// counters move.
func TestCgroupIsCharged(t *testing.T) {
	requireMachine(t)
	dir := filepath.Join(cgroupRoot, "smoke")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}()
	group, err := openCgroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	host, guest := net.Pipe()
	go func() {
		defer guest.Close()
		answer(guest)
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	request := wire.Request{Op: wire.OpExec, Path: self, Args: []string{"-test.list=."}, Cgroup: dir}
	if err := wire.WriteJSON(host, wire.KindRequest, request); err != nil {
		t.Fatal(err)
	}
	if exit, out := receive(t, host); !strings.Contains(out, "TestCgroupIsCharged") || !strings.Contains(exit, `"Code":0`) {
		t.Errorf("the command printed %q and ended with %s", out, exit)
	}
	if stat := readText(t, filepath.Join(dir, "cpu.stat")); strings.HasPrefix(stat, "usage_usec 0\n") {
		t.Errorf("a command ran in the cgroup and used no CPU time:\n%s", stat)
	}
}

// receive reads to the end of a connection: the last frame and all output.
func receive(t *testing.T, conn net.Conn) (exit, out string) {
	t.Helper()
	defer conn.Close()
	buf := make([]byte, wire.MaxPayload)
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case wire.KindStdout, wire.KindStderr:
			out += string(payload)
		case wire.KindExited:
			return string(payload), out
		}
	}
}

func TestUnknownRequestIsAnswered(t *testing.T) {
	host, guest := net.Pipe()
	go func() {
		defer guest.Close()
		answer(guest)
	}()
	if err := wire.WriteJSON(host, wire.KindRequest, wire.Request{Op: "dance"}); err != nil {
		t.Fatal(err)
	}
	if exit, _ := receive(t, host); !strings.Contains(exit, "dance") {
		t.Errorf("answer %s; want an error that names the request", exit)
	}
}

func TestNetwork(t *testing.T) {
	requireMachine(t)
	for _, name := range []string{"lo", card} {
		device, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if device.Flags&net.FlagUp == 0 {
			t.Errorf("%s is down", name)
		}
	}
	// The default route: destination 0, gateway 10.0.2.2 in the host's byte order.
	if routes := readText(t, "/proc/net/route"); !strings.Contains(routes, card+"\t00000000\t0202000A") {
		t.Errorf("no default route:\n%s", routes)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.DialTimeout("tcp4", listener.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestClock: certificates and counters' ages are judged by it.
func TestClock(t *testing.T) {
	requireMachine(t)
	if now := time.Now(); now.Year() < 2025 {
		t.Errorf("the clock says %v", now)
	}
}

// TestOrphansAreReaped: the child of a process that has ended becomes process
// 1's, and must not stay behind as a zombie.
func TestOrphansAreReaped(t *testing.T) {
	if os.Getenv("SMOKE_ROLE") == "parent" {
		orphan := exec.Command(os.Args[0], "-test.list=.")
		if err := orphan.Start(); err != nil {
			t.Fatal(err)
		}
		// Ends without waiting, and says on standard output whose parent it was.
		os.Stdout.WriteString("orphan " + filepath.Join("/proc", strconv.Itoa(orphan.Process.Pid)) + "\n")
		return
	}
	requireMachine(t)
	parent := exec.Command(os.Args[0], "-test.run=^TestOrphansAreReaped$")
	parent.Env = append(os.Environ(), "SMOKE_ROLE=parent")
	out, err := parent.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		path, found := strings.CutPrefix(lines.Text(), "orphan ")
		if !found {
			continue
		}
		for range 100 {
			if _, err := os.Stat(path); os.IsNotExist(err) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("%s is still there", path)
	}
	t.Fatalf("the parent said nothing of an orphan: %s", out)
}

func TestFilesGoThrough(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "file")
	for _, text := range []string{"a longer text first", "short"} {
		host, guest := net.Pipe()
		go func() {
			defer guest.Close()
			answer(guest)
		}()
		if err := wire.WriteJSON(host, wire.KindRequest, wire.Request{Op: wire.OpWrite, Path: path, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(wire.FrameWriter{W: host, Kind: wire.KindData}, text); err != nil {
			t.Fatal(err)
		}
		if err := wire.WriteFrame(host, wire.KindEnd, nil); err != nil {
			t.Fatal(err)
		}
		if exit, _ := receive(t, host); !strings.Contains(exit, `"Code":0`) || strings.Contains(exit, "Error") {
			t.Fatalf("answer %s", exit)
		}
		if got := readText(t, path); got != text {
			t.Errorf("the file has %q, want %q", got, text)
		}
	}
}
