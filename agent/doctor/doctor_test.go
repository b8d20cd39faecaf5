// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/iterator"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

var update = flag.Bool("update", false, "write the golden files anew")

// node returns a recorded node on which everything is well.
func node(t *testing.T) Node {
	t.Helper()
	root, proc := fixturetree.Write(t, fixturetree.SystemdSteady)
	sys, state := t.TempDir(), t.TempDir()
	write(t, sys, "kernel/btf/vmlinux", strings.Repeat("x", 5<<20))
	for _, resource := range []string{"cpu", "memory", "io"} {
		write(t, proc, "pressure/"+resource, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	}
	write(t, proc, "sys/fs/inotify/max_user_watches", "65536\n")
	write(t, proc, "sys/fs/inotify/max_user_instances", "128\n")
	write(t, proc, "swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
	return Node{
		CgroupFS: root, ProcFS: proc, SysFS: sys, State: state,
		Programs: []bpf.Status{{Program: "cgroup_iterator", How: "iter.s/cgroup"}},
		System: System{
			KernelRelease: "6.12.107+deb13-cloud-arm64",
			Machine:       "aarch64",
			PageBytes:     4096,
			OpenFiles:     1048576,
			KeptFiles:     func(string, int) (int, error) { return 8192, nil },
			Capabilities:  1<<capBPF | 1<<capPerfmon,
			CheckRoot:     func(string) error { return nil },
			Writable:      func(string) error { return nil },
			OnOverlay:     func(string) bool { return false },
		},
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// golden compares got with a file of testdata, after the test's directories
// were given their usual names.
func golden(t *testing.T, name string, n Node, got []byte) {
	t.Helper()
	for dir, usual := range map[string]string{n.CgroupFS: "/sys/fs/cgroup", n.ProcFS: "/proc", n.SysFS: "/sys", n.State: "/var/lib/slicewatch"} {
		got = bytes.ReplaceAll(got, []byte(dir), []byte(usual))
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test with -update to make it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// brokenNode is a node on which as much as possible is amiss.
func brokenNode(t *testing.T) Node {
	n := node(t)
	slice := filepath.Join(n.CgroupFS, "kubepods.slice")
	write(t, n.CgroupFS, "cgroup.controllers", "cpuset cpu io pids\n")
	write(t, slice, "cgroup.subtree_control", "cpuset cpu\n")
	remove(t, filepath.Join(n.ProcFS, "pressure"), filepath.Join(n.SysFS, "kernel"),
		filepath.Join(slice, "io.pressure"), filepath.Join(slice, "memory.peak"),
		filepath.Join(slice, "memory.events.local"), filepath.Join(slice, "cpu.max.burst"))
	write(t, n.ProcFS, "sys/fs/inotify/max_user_watches", "8\n")
	n.System.KernelRelease, n.System.PageBytes, n.System.Capabilities = "5.4.0-200-generic", 65536, 0
	n.System.KeptFiles = func(string, int) (int, error) { return 64, nil }
	n.Programs = programs(bpf.Status{Err: &bpf.Unavailable{Program: iterator.Name, Reason: bpf.NoBTF}})
	n.System.OpenFiles = 320
	n.System.Writable = func(string) error { return unix.EROFS }
	n.System.CheckRoot = func(dir string) error {
		return &cgroupfs.RootError{Dir: dir, Mode: cgroupfs.ModeHybrid, Mend: "boot another kernel"}
	}
	processes, err := filepath.Glob(filepath.Join(n.ProcFS, "[0-9]*"))
	if err != nil || len(processes) == 0 {
		t.Fatalf("processes of the recording: %q, %v", processes, err)
	}
	remove(t, processes...)
	return n
}

func TestGolden(t *testing.T) {
	tests := map[string]struct {
		node    func(*testing.T) Node
		healthy bool
	}{
		"healthy": {node, true},
		"broken":  {brokenNode, false},
		"no-kubepods": {func(t *testing.T) Node {
			n := node(t)
			remove(t, filepath.Join(n.CgroupFS, "kubepods.slice"))
			return n
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := test.node(t)
			results := Examine(n)
			if got := Healthy(results); got != test.healthy {
				t.Errorf("Healthy is %t", got)
			}
			var table, object bytes.Buffer
			if err := errors.Join(WriteTable(&table, results, false), WriteJSON(&object, results)); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", n, table.Bytes())
			golden(t, name+".json", n, object.Bytes())
		})
	}
}

// Whatever is amiss, the user is told what it costs and what to do.
func TestEveryComplaintHasCostAndMend(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range Examine(brokenNode(t)) {
		if seen[r.Check] {
			t.Errorf("check %s is there twice", r.Check)
		}
		seen[r.Check] = true
		complains := r.Status == Degraded || r.Status == Failing
		if complains != (r.Cost != "") || complains != (r.Mend != "") {
			t.Errorf("check %s is %s with cost %q and mend %q", r.Check, r.Status, r.Cost, r.Mend)
		}
	}
}

// programs is what became of the iterator.
func programs(s bpf.Status) []bpf.Status {
	s.Program, s.Without = iterator.Name, iterator.Without
	return []bpf.Status{s}
}

// single is a node with one thing changed, and what one check says then.
type single struct {
	check  string
	change func(*testing.T, *Node)
	status Status
	found  string
}

func (s single) run(t *testing.T, n Node) {
	usual := strings.NewReplacer(n.State, "/var/lib/slicewatch", n.ProcFS, "/proc", n.CgroupFS, "/sys/fs/cgroup")
	s.change(t, &n)
	for _, r := range Examine(n) {
		if r.Check != s.check {
			continue
		}
		if found := usual.Replace(r.Found); r.Status != s.status || found != s.found {
			t.Errorf("%s, %q; want %s, %q", r.Status, found, s.status, s.found)
		}
		return
	}
	t.Fatalf("there is no check %s", s.check)
}

// These change nothing but their own copy of the node.
func TestSystem(t *testing.T) {
	shared := node(t)
	tests := map[string]single{
		"kernel without a number": {"kernel", func(_ *testing.T, n *Node) { n.System.KernelRelease = "custom" },
			Degraded, `the release "custom" has no version number`},
		"kernel without memory.peak": {"kernel", func(_ *testing.T, n *Node) { n.System.KernelRelease = "5.15.0-1" }, Degraded, "5.15.0-1"},
		"first kernel with all":      {"kernel", func(_ *testing.T, n *Node) { n.System.KernelRelease = "5.19" }, OK, "5.19"},
		"untested machine":           {"platform", func(_ *testing.T, n *Node) { n.System.Machine = "riscv64" }, Degraded, "riscv64, pages of 4 KiB"},
		"recording": {"cgroup-root", func(_ *testing.T, n *Node) { n.System.CheckRoot = cgroupfs.CheckRoot },
			Degraded, "/sys/fs/cgroup looks like a recording of a cgroup tree"},
		"hint leads nowhere": {"kubepods", func(_ *testing.T, n *Node) { n.CgroupHint = "/elsewhere" },
			Failing, "none at or below /elsewhere"},
		"state on an overlay": {"state", func(_ *testing.T, n *Node) { n.System.OnOverlay = func(string) bool { return true } },
			Degraded, "/var/lib/slicewatch is inside the container and goes with it"},
		"state to be made": {"state", func(_ *testing.T, n *Node) { n.State += "/a/b" }, OK, "/var/lib/slicewatch/a/b is not there yet and can be made"},
		"no capabilities": {"capabilities", func(_ *testing.T, n *Node) { n.System.Capabilities = 0 },
			Degraded, "none for eBPF"},
		"one capability": {"capabilities", func(_ *testing.T, n *Node) { n.System.Capabilities = 1 << capBPF }, Degraded, "BPF"},
		"all rights":     {"capabilities", func(_ *testing.T, n *Node) { n.System.Capabilities = 1 << capSysAdmin }, OK, "SYS_ADMIN"},
		"no capabilities and eBPF switched off": {"capabilities", func(_ *testing.T, n *Node) {
			n.System.Capabilities, n.Programs = 0, programs(bpf.Status{Err: &bpf.Unavailable{Reason: bpf.SwitchedOff}})
		}, OK, "none for eBPF"},
		"program switched off": {"bpf-cgroup-iterator", func(_ *testing.T, n *Node) {
			n.Programs = programs(bpf.Status{Err: &bpf.Unavailable{Reason: bpf.SwitchedOff}})
		}, Skipped, "switched off (--bpf=off)"},
		"program without rights": {"bpf-cgroup-iterator", func(_ *testing.T, n *Node) {
			n.Programs = programs(bpf.Status{Err: bpf.Explain("cgroup_iterator", unix.EPERM)})
		}, Degraded, "no permission: operation not permitted"},
		"program with less than all": {"bpf-cgroup-iterator", func(_ *testing.T, n *Node) {
			n.Programs = programs(bpf.Status{How: "raw_tp/mark_victim", Err: bpf.Explain("oom", unix.EACCES)})
		}, Degraded, "raw_tp/mark_victim, but perf events are restricted: permission denied"},
		"program that fails otherwise": {"bpf-cgroup-iterator", func(_ *testing.T, n *Node) {
			n.Programs = programs(bpf.Status{Err: errors.New("close: bad file")})
		}, Degraded, "close: bad file"},
		"files when the iterator works": {"open-files", func(_ *testing.T, n *Node) {
			n.Programs = programs(bpf.Status{How: "iter.s/cgroup"})
		}, OK, "RLIMIT_NOFILE 1048576: 8192 can be kept open, 30 are needed for 30 cgroups"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test.run(t, shared) })
	}
}

// These change files.
func TestFiles(t *testing.T) {
	tests := map[string]single{
		"not a cgroup root": {"cgroup-root", func(t *testing.T, n *Node) {
			n.System.CheckRoot = cgroupfs.CheckRoot
			remove(t, filepath.Join(n.CgroupFS, "cgroup.controllers"))
		}, Failing, "/sys/fs/cgroup is not a cgroup file system"},
		"pressure switched off": {"pod-pressure", func(t *testing.T, n *Node) { write(t, n.CgroupFS, "kubepods.slice/cgroup.pressure", "0\n") },
			Degraded, "/kubepods.slice/cgroup.pressure is 0"},
		"swap": {"swap", func(t *testing.T, n *Node) {
			write(t, n.ProcFS, "swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1048572 0 -2\n")
		}, OK, "1 devices"},
		"no swap in the kernel": {"swap", func(t *testing.T, n *Node) { remove(t, filepath.Join(n.ProcFS, "swaps")) }, OK, "the kernel has no swap"},
		"other PID namespace":   {"processes", hideProcesses, Degraded, "containers' processes are in a PID namespace that cannot be seen"},
		"state is a file": {"state", func(t *testing.T, n *Node) {
			remove(t, n.State)
			write(t, "", n.State, "")
		}, Degraded, "/var/lib/slicewatch is not a directory"},
		"inotify limit is no number": {"inotify", func(t *testing.T, n *Node) { write(t, n.ProcFS, "sys/fs/inotify/max_user_watches", "many\n") },
			Degraded, `/proc/sys/fs/inotify/max_user_watches: strconv.Atoi: parsing "many": invalid syntax`},
		"no inotify instances": {"inotify", func(t *testing.T, n *Node) { write(t, n.ProcFS, "sys/fs/inotify/max_user_instances", "0\n") },
			Degraded, "65536 watches and 0 instances per user, 30 watches are needed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test.run(t, node(t)) })
	}
}

// hideProcesses makes every cgroup.procs say what it says across PID namespaces.
func hideProcesses(t *testing.T, n *Node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.CgroupFS, "kubepods.slice/*/*/*/cgroup.procs"))
	more, err2 := filepath.Glob(filepath.Join(n.CgroupFS, "kubepods.slice/*/*/cgroup.procs"))
	if err != nil || err2 != nil || len(files) == 0 {
		t.Fatal("no cgroup.procs in the recording")
	}
	for _, file := range append(files, more...) {
		write(t, "", file, "0\n")
	}
}

func TestTableColoursAndTamesText(t *testing.T) {
	var out bytes.Buffer
	results := []Result{{Check: "a", Status: Failing, Found: "evil \x1b[2J\nname", Cost: "c", Mend: "m"}}
	if err := WriteTable(&out, results, true); err != nil {
		t.Fatal(err)
	}
	want := "CHECK  STATUS    FOUND\n" +
		"a      \x1b[31mfailing \x1b[0m  evil  [2J name\n" +
		"                 cost: c\n" +
		"                 mend: m\n" +
		"\n0 ok, 0 degraded, 1 failing, 0 skipped\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestThisSystem(t *testing.T) {
	system, err := ThisSystem()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := parseKernel(system.KernelRelease); !ok {
		t.Errorf("kernel release %q", system.KernelRelease)
	}
	if system.PageBytes < 4096 || system.OpenFiles == 0 || system.Machine == "" {
		t.Errorf("system %+v", system)
	}
	if kept, err := system.KeptFiles(t.TempDir(), 0); err != nil || kept < 0 {
		t.Errorf("KeptFiles: %d, %v", kept, err)
	}
	if err := system.Writable(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := system.Writable(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Writable of an absent directory: %v", err)
	}
}
