// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

const (
	cgroupMount = "/sys/fs/cgroup"
	// loadEnv tells TestLoad that it is wanted.
	loadEnv = "SLICEWATCH_TEST_LOAD"
)

// TestLoad is the load of TestSecondOpinion, in a process of its own.
func TestLoad(t *testing.T) {
	if os.Getenv(loadEnv) == "" {
		t.Skip("no test: TestSecondOpinion starts this in a process of its own")
	}
	if err := load(); err != nil {
		t.Fatal(err)
	}
}

// load waits until its standard input ends (by then it is in its cgroup), uses
// the CPU for a while, memory and a file, says so and stays.
func load() error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	memory := make([]byte, 16<<20)
	for start := time.Now(); time.Since(start) < time.Second; {
		for i := range memory {
			memory[i]++
		}
	}
	name := filepath.Join(os.TempDir(), "slicewatch-load")
	if err := os.WriteFile(name, memory[:1<<20], 0o600); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	if _, err := fmt.Println("done"); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}

// TestSecondOpinion compares every value that containerd/cgroups gives too, on
// a real cgroup whose processes are frozen, so that both see the same.
func TestSecondOpinion(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make cgroups")
	}
	if cgroups.Mode() != cgroups.Unified {
		t.Skipf("no cgroup v2 at %s", cgroupMount)
	}
	manager, c := startLoad(t)
	if err := manager.Freeze(); err != nil {
		t.Fatalf("freeze the load: %v", err)
	}
	dir := filepath.Join(cgroupMount, c.Path)
	r := newTestReader(t, cgroupMount, FileReaderConfig{})
	var before, after Reading
	var other *stats.Metrics
	var naive map[string]uint64
	// The kernel itself may still work for a frozen cgroup (its period timer
	// runs out, for example): what was read between two equal readings counts.
	for range 20 {
		mustRead(t, r, c, &before)
		var err error
		if other, err = manager.Stat(); err != nil {
			t.Fatalf("containerd/cgroups: %v", err)
		}
		naive = naiveValues(dir)
		r.SettingsChanged(c)
		mustRead(t, r, c, &after)
		if before == after {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if before != after {
		t.Fatalf("the frozen cgroup does not come to rest: %s", cmp.Diff(values(&before), values(&after)))
	}
	compareOpinions(t, &after, other)
	if diff := cmp.Diff(naive, values(&after)); diff != "" {
		t.Errorf("(-naive +got):\n%s", diff)
	}
	theirs, err := manager.Procs(true)
	if err != nil {
		t.Fatal(err)
	}
	if ours := mustProcs(t, r, c, nil); fmt.Sprint(ours) != fmt.Sprint(theirs) {
		t.Errorf("processes are %v, containerd/cgroups says %v", ours, theirs)
	}
	hidePressure(t, r, c, &after)
	removeUnderReader(t, manager, r, c)
}

// startLoad makes a cgroup with a CPU quota and a memory limit and lets the
// load do its work in it.
func startLoad(t *testing.T) (*cgroup2.Manager, *Cgroup) {
	t.Helper()
	quota, period, limit, high := int64(20000), uint64(100000), int64(128<<20), int64(96<<20)
	path := fmt.Sprintf("/slicewatch-test-%d", os.Getpid())
	manager, err := cgroup2.NewManager(cgroupMount, path, &cgroup2.Resources{
		CPU:    &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &period)},
		Memory: &cgroup2.Memory{Max: &limit, High: &high},
		Pids:   &cgroup2.Pids{Max: 100},
		IO:     &cgroup2.IO{},
	})
	if err != nil {
		t.Fatalf("make cgroup %s: %v", path, err)
	}
	t.Cleanup(func() {
		if err := manager.Delete(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove cgroup %s: %v", path, err)
		}
	})
	command := exec.Command(os.Args[0], "-test.run=^TestLoad$")
	command.Env = append(os.Environ(), loadEnv+"=1")
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Thaw(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("thaw: %v", err)
		}
		_ = command.Process.Kill() // it may be dead already
		_ = command.Wait()         // killed: an error
	})
	if err := manager.AddProc(uint64(command.Process.Pid)); err != nil {
		t.Fatalf("move the load into the cgroup: %v", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("the load said %q: %v", line, err)
	}
	return manager, cgroupAt(t, cgroupMount, path)
}

// compareOpinions compares what both give. containerd/cgroups gives 0 for what
// is absent, so a field that we do not have is only compared with that.
func compareOpinions(t *testing.T, ours *Reading, theirs *stats.Metrics) {
	t.Helper()
	cpu, memory, events := theirs.GetCPU(), theirs.GetMemory(), theirs.GetMemoryEvents()
	sums := make(map[Field]uint64)
	for _, device := range theirs.GetIo().GetUsage() {
		sums[IOReadBytes] += device.GetRbytes()
		sums[IOWriteBytes] += device.GetWbytes()
		sums[IOReads] += device.GetRios()
		sums[IOWrites] += device.GetWios()
	}
	wants := map[Field]uint64{
		CPUUsage: cpu.GetUsageUsec(), CPUUser: cpu.GetUserUsec(), CPUSystem: cpu.GetSystemUsec(),
		CPUPeriods: cpu.GetNrPeriods(), CPUThrottledPeriods: cpu.GetNrThrottled(), CPUThrottled: cpu.GetThrottledUsec(),
		CPUBurstPeriods: cpu.GetNrBursts(), CPUBurst: cpu.GetBurstUsec(),
		CPUPressureSome: cpu.GetPSI().GetSome().GetTotal(), CPUPressureFull: cpu.GetPSI().GetFull().GetTotal(),
		MemoryCurrent: memory.GetUsage(), MemoryPeak: memory.GetMaxUsage(), MemoryMax: memory.GetUsageLimit(),
		MemoryEventLow: events.GetLow(), MemoryEventHigh: events.GetHigh(), MemoryEventMax: events.GetMax(),
		MemoryEventOOM: events.GetOom(), MemoryEventOOMKill: events.GetOomKill(), MemoryEventOOMGroupKill: events.GetOomGroupKill(),
		MemoryAnon: memory.GetAnon(), MemoryFile: memory.GetFile(), MemoryShmem: memory.GetShmem(),
		MemorySlabReclaimable: memory.GetSlabReclaimable(),
		MemoryInactiveFile:    memory.GetInactiveFile(), MemoryActiveFile: memory.GetActiveFile(),
		MemoryFileDirty: memory.GetFileDirty(), MemoryFileWriteback: memory.GetFileWriteback(),
		MemorySock: memory.GetSock(), MemoryMajorFaults: memory.GetPgmajfault(),
		MemoryPressureSome: memory.GetPSI().GetSome().GetTotal(), MemoryPressureFull: memory.GetPSI().GetFull().GetTotal(),
		SwapCurrent: memory.GetSwapUsage(), SwapMax: memory.GetSwapLimit(),
		IOReadBytes: sums[IOReadBytes], IOWriteBytes: sums[IOWriteBytes], IOReads: sums[IOReads], IOWrites: sums[IOWrites],
		IOPressureSome: theirs.GetIo().GetPSI().GetSome().GetTotal(), IOPressureFull: theirs.GetIo().GetPSI().GetFull().GetTotal(),
		PIDsCurrent: theirs.GetPids().GetCurrent(), PIDsMax: theirs.GetPids().GetLimit(),
	}
	compared := 0
	for f, want := range wants {
		got, ok := ours.Get(f)
		if got != want {
			t.Errorf("%v is %d (present: %v), containerd/cgroups says %d", f, got, ok, want)
		}
		if ok {
			compared++
		}
	}
	for _, f := range []Field{CPUUsage, CPUThrottled, MemoryCurrent, MemoryAnon} {
		if wants[f] == 0 {
			t.Errorf("%v is 0 after the load: the comparison proves little", f)
		}
	}
	t.Logf("%d of %d values compared were present, %d of them only here", compared, len(wants), ours.Len()-compared)
}

// hidePressure switches PSI off and on for the cgroup while its files are open:
// the kernel removes them meanwhile (since 6.1).
func hidePressure(t *testing.T, r *FileReader, c *Cgroup, reading *Reading) {
	t.Helper()
	file := filepath.Join(cgroupMount, c.Path, "cgroup.pressure")
	if _, err := os.Stat(file); err != nil || !reading.Has(CPUPressureSome) {
		t.Logf("PSI cannot be switched off here: %v", err)
		return
	}
	before := reading.Len()
	writeInPlace(t, file, "0")
	mustRead(t, r, c, reading) // ENODEV, and maybe the end of the cgroup: the fields stay
	mustRead(t, r, c, reading)
	wantAbsent(t, reading, CPUPressureSome, MemoryPressureFull, IOPressureSome)
	writeInPlace(t, file, "1")
	r.SettingsChanged(c)
	mustRead(t, r, c, reading)
	if reading.Len() != before {
		t.Errorf("%d fields with PSI on again, want %d", reading.Len(), before)
	}
}

// removeUnderReader removes the cgroup while its files are open: what ENODEV
// looks like on this kernel.
func removeUnderReader(t *testing.T, manager *cgroup2.Manager, r *FileReader, c *Cgroup) {
	t.Helper()
	if err := manager.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := manager.Kill(); err != nil {
		t.Fatal(err)
	}
	// The kernel refuses while the killed process is on its way out.
	dir := filepath.Join(cgroupMount, c.Path)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatal(err)
		}
	}
	wantGone(t, r, c)
}

// The benchmarks read all 31 cgroups of one recorded tree, on an ordinary file
// system: the kernel's own cost of formatting, which is the same for all three,
// is missing.

func BenchmarkRead(b *testing.B) {
	rootDir, _ := fixturetree.Write(b, fixturetree.SystemdSteady)
	cgroups := everyCgroup(b, rootDir)
	r := newTestReader(b, rootDir, FileReaderConfig{})
	readings := make([]Reading, len(cgroups))
	b.ReportAllocs()
	for b.Loop() {
		sweep(b, r, cgroups, readings)
	}
}

func BenchmarkManagerStat(b *testing.B) {
	rootDir, _ := fixturetree.Write(b, fixturetree.SystemdSteady)
	var managers []*cgroup2.Manager
	for _, c := range everyCgroup(b, rootDir) {
		manager, err := cgroup2.Load(c.Path, cgroup2.WithMountpoint(rootDir))
		if err != nil {
			b.Fatal(err)
		}
		managers = append(managers, manager)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, manager := range managers {
			if _, err := manager.Stat(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkReadFile(b *testing.B) {
	rootDir, _ := fixturetree.Write(b, fixturetree.SystemdSteady)
	var names []string
	for _, c := range everyCgroup(b, rootDir) {
		for _, file := range controlFiles() {
			if name := filepath.Join(rootDir, c.Path, file.name); file.hot {
				if _, err := os.Stat(name); err == nil {
					names = append(names, name)
				}
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				b.Fatal(err)
			}
		}
	}
}
