// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// sweep reads all cgroups, each into its own Reading.
func sweep(t testing.TB, r *FileReader, cgroups []*Cgroup, readings []Reading) {
	t.Helper()
	for i, c := range cgroups {
		mustRead(t, r, c, &readings[i])
	}
}

func TestSettingsAreSpreadOverSweeps(t *testing.T) {
	const every = 10
	rootDir, _ := fixturetree.Write(t, fixturetree.CgroupfsSteady)
	cgroups := everyCgroup(t, rootDir)[1:] // the root has no settings
	readings := make([]Reading, len(cgroups))
	r := newTestReader(t, rootDir, FileReaderConfig{SettingsEvery: every})
	sweep(t, r, cgroups, readings)
	// Twice: the second round comes from the regular schedule.
	for round := uint64(1); round <= 2; round++ {
		for _, c := range cgroups {
			writeInPlace(t, filepath.Join(rootDir, c.Path, "memory.max"), strconv.FormatUint(round, 10)+"\n")
		}
		seen := 0
		for n := range every {
			sweep(t, r, cgroups, readings)
			now := 0
			for i := range readings {
				if v, _ := readings[i].Get(MemoryMax); v == round {
					now++
				}
			}
			if fresh := now - seen; fresh < len(cgroups)/every || fresh > (len(cgroups)+every-1)/every {
				t.Errorf("round %d, sweep %d: settings of %d of %d cgroups were read, want a %dth of them",
					round, n, fresh, len(cgroups), every)
			}
			seen = now
		}
		if seen != len(cgroups) {
			t.Errorf("round %d: %d of %d changes were seen in %d sweeps", round, seen, len(cgroups), every)
		}
	}
}

func TestSettingsChanged(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	r.SettingsChanged(c) // never read: fine
	var reading Reading
	mustRead(t, r, c, &reading)
	before, _ := reading.Get(MemoryMax)
	writeInPlace(t, filepath.Join(dir, "memory.max"), "123456\n")
	mustRead(t, r, c, &reading)
	wantField(t, &reading, MemoryMax, before)
	r.SettingsChanged(c)
	mustRead(t, r, c, &reading)
	wantField(t, &reading, MemoryMax, 123456)
}

func TestCPUMaxIsASettingWithoutQuota(t *testing.T) {
	r, c, dir := oneCgroup(t, FileReaderConfig{})
	cpuMaxFile := filepath.Join(dir, "cpu.max")
	var reading Reading
	mustRead(t, r, c, &reading)
	withQuota := r.Stats().OpenFiles

	writeInPlace(t, cpuMaxFile, "10000 50000\n") // the kernel's own rescaling
	mustRead(t, r, c, &reading)
	wantField(t, &reading, CPUQuota, 10000)

	writeInPlace(t, cpuMaxFile, "max 100000\n")
	mustRead(t, r, c, &reading)
	wantField(t, &reading, CPUQuota, Unlimited)
	if open := r.Stats().OpenFiles; open != withQuota-1 {
		t.Errorf("%d files open without a quota, want %d", open, withQuota-1)
	}

	writeInPlace(t, cpuMaxFile, "30000 100000\n")
	mustRead(t, r, c, &reading)
	wantField(t, &reading, CPUQuota, Unlimited)
	r.SettingsChanged(c)
	mustRead(t, r, c, &reading)
	wantField(t, &reading, CPUQuota, 30000)
	if open := r.Stats().OpenFiles; open != withQuota {
		t.Errorf("%d files open with a quota again, want %d", open, withQuota)
	}
}

// openDescriptors returns how many descriptors of files below dir the process
// has.
func openDescriptors(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc to count descriptors with: %v", err)
	}
	n := 0
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if rel, relErr := filepath.Rel(dir, target); err == nil && relErr == nil && filepath.IsLocal(rel) {
			n++
		}
	}
	return n
}

func TestDescriptorBudget(t *testing.T) {
	const maxOpen = 20
	rootDir, _ := fixturetree.Write(t, fixturetree.SystemdSteady)
	cgroups := everyCgroup(t, rootDir)
	plenty, short := make([]Reading, len(cgroups)), make([]Reading, len(cgroups))
	sweep(t, newTestReader(t, rootDir, FileReaderConfig{}), cgroups, plenty)
	others := openDescriptors(t, rootDir)

	r := newTestReader(t, rootDir, FileReaderConfig{MaxOpen: maxOpen})
	for range 3 {
		sweep(t, r, cgroups, short)
	}
	for i := range cgroups {
		if plenty[i] != short[i] {
			t.Errorf("%s: (-plenty of descriptors +few):\n%s", cgroups[i].Path,
				cmp.Diff(values(&plenty[i]), values(&short[i])))
		}
	}
	stats := r.Stats()
	if stats.OpenFiles != maxOpen || stats.MaxOpen != maxOpen {
		t.Errorf("%d of %d files open, want all %d", stats.OpenFiles, stats.MaxOpen, maxOpen)
	}
	if got := openDescriptors(t, rootDir) - others; got != maxOpen+1 {
		t.Errorf("%d descriptors, want %d and the root's", got, maxOpen)
	}
	if stats.OpenedAnew < 3*300 {
		t.Errorf("%d files counted as opened anew, want those of 31 cgroups three times", stats.OpenedAnew)
	}
	r.Forget(cgroups[0])
	r.Forget(cgroups[1])
	r.Forget(cgroups[1]) // twice is fine
	if freed := r.Stats().OpenFiles; freed >= maxOpen {
		t.Errorf("%d files open after Forget", freed)
	}
	sweep(t, r, cgroups[2:], short[2:])
	if stats := r.Stats(); stats.OpenFiles != maxOpen {
		t.Errorf("%d files open, want others to take what Forget gave back", stats.OpenFiles)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got := openDescriptors(t, rootDir) - others; got != 0 {
		t.Errorf("%d descriptors left after Close", got)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	rootDir, _ := fixturetree.Write(t, fixturetree.CgroupfsSteady)
	cgroups := everyCgroup(t, rootDir)
	readings, want := make([]Reading, len(cgroups)), make([]Reading, len(cgroups))
	enough := newTestReader(t, rootDir, FileReaderConfig{})
	sweep(t, enough, cgroups, want)
	if err := enough.Close(); err != nil {
		t.Fatal(err)
	}
	r := newTestReader(t, rootDir, FileReaderConfig{MaxOpen: 5000})

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lowered := limit
	lowered.Cur = 128
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered); err != nil {
		t.Skipf("cannot lower the limit on open files: %v", err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	sweep(t, r, cgroups, readings)
	sweep(t, r, cgroups, readings)
	for i := range cgroups {
		if want[i] != readings[i] {
			t.Errorf("%s: (-want +got):\n%s", cgroups[i].Path, cmp.Diff(values(&want[i]), values(&readings[i])))
		}
	}
	if stats := r.Stats(); stats.MaxOpen > 120 || stats.OpenFiles > stats.MaxOpen {
		t.Errorf("%d of %d files open: nothing left for the rest of the process", stats.OpenFiles, stats.MaxOpen)
	}
	if file, err := os.Open(rootDir); err != nil {
		t.Errorf("the rest of the process: %v", err)
	} else if err := file.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	rootDir, _ := fixturetree.Write(t, fixturetree.SystemdSteady)
	cgroups := everyCgroup(t, rootDir)
	readings := make([]Reading, len(cgroups))
	for name, cfg := range map[string]FileReaderConfig{
		"kept descriptors":              {},
		"settings every time":           {SettingsEvery: 1},
		"few descriptors":               {MaxOpen: 5},
		"few, and settings every time":  {MaxOpen: 5, SettingsEvery: 1},
		"settings due in some of these": {SettingsEvery: 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestReader(t, rootDir, cfg)
			sweep(t, r, cgroups, readings)
			perSweep := testing.AllocsPerRun(10, func() {
				for i, c := range cgroups {
					if err := r.Read(c, &readings[i]); err != nil {
						t.Fatal(err)
					}
				}
			})
			if perSweep != 0 {
				t.Errorf("%v allocations per sweep of %d cgroups, want none", perSweep, len(cgroups))
			}
		})
	}
}
