// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
)

// openedPeriods returns the reader, with a ring of this size.
func openedPeriods(t *testing.T, ringBytes int) *Periods {
	t.Helper()
	p := openPeriods(ringBytes)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%q, error %v", p.Status().How, p.Status().Err)
	if !p.Status().Up() || p.Status().Err != nil {
		t.Fatal(p.Status().Err)
	}
	return p
}

// What periods tell adds up to what cpu.stat says, and only of what is observed.
func TestPeriodsAreTheKernels(t *testing.T) {
	tr := newTree(t)
	p := openedPeriods(t, 1<<16)
	one, many, other := tr.pod+"/one", tr.pod+"/many", tr.pod+"/other"
	for dir, quota := range map[string]string{one: "20000 100000", many: "30000 50000", other: "10000 100000"} {
		tr.mkdir(dir)
		tr.write(dir, "cpu.max", quota)
	}
	for _, dir := range []string{one, many} {
		if err := p.Observe(tr.id(dir)); err != nil {
			t.Fatal(err)
		}
	}
	stops := []func(){tr.start(one, "spin 1"), tr.start(many, "spin 3"), tr.start(other, "spin 1")}
	time.Sleep(2 * time.Second)
	for _, stop := range stops {
		stop()
	}
	for _, dir := range []string{one, many, other} {
		tr.empty(dir)
	}
	time.Sleep(500 * time.Millisecond)
	type sum struct {
		periods, throttled, cpus, waiting int
		used                              time.Duration
	}
	sums := map[uint64]*sum{tr.id(one): {}, tr.id(many): {}}
	p.Drain(func(in Period) {
		s := sums[in.Cgroup]
		if s == nil {
			t.Errorf("told of cgroup %d", in.Cgroup)
			return
		}
		s.periods++
		s.used += in.Quota - in.Left
		if in.Held {
			s.throttled++
		}
		if in.CPUs > 0 && !in.Held || in.CPUs < 2 && in.Later != 0 {
			t.Errorf("%+v", in)
		}
		s.cpus, s.waiting = max(s.cpus, in.CPUs), max(s.waiting, in.Waiting)
	})
	for dir, threads := range map[string]int{one: 1, many: 3} {
		s := sums[tr.id(dir)]
		periods, throttled := tr.number(dir, "cpu.stat", "nr_periods "), tr.number(dir, "cpu.stat", "nr_throttled ")
		usage := time.Duration(tr.number(dir, "cpu.stat", "usage_usec ")) * time.Microsecond
		t.Logf("%s: %+v; cpu.stat: %d periods, %d throttled, %v", dir, *s, periods, throttled, usage)
		// A late timer makes one call of several periods.
		if n := uint64(s.periods); n > periods || n < periods*6/10 || uint64(s.throttled) > throttled || throttled == 0 {
			t.Errorf("%s: %+v; cpu.stat: %d periods, %d throttled", dir, *s, periods, throttled)
		}
		if s.used < usage*8/10 || s.used > usage*12/10+20*time.Millisecond {
			t.Errorf("%s: %v used; cpu.stat: %v", dir, s.used, usage)
		}
		if s.cpus == 0 || s.waiting < threads || s.waiting > threads+3 {
			t.Errorf("%s: %d tasks waited on %d CPUs, of %d that are busy", dir, s.waiting, s.cpus, threads)
		}
	}
	if p.Lost() != 0 {
		t.Errorf("%d lost", p.Lost())
	}
	p.Ignore(tr.id(one))
	stop := tr.start(one, "spin 1")
	time.Sleep(time.Second)
	stop()
	p.Drain(func(in Period) { t.Errorf("told of what is not observed: %+v", in) })
}

func TestLostPeriodsAreCounted(t *testing.T) {
	tr := newTree(t)
	p := openedPeriods(t, os.Getpagesize())
	dir := tr.pod + "/busy"
	tr.mkdir(dir)
	tr.write(dir, "cpu.max", "1000 2000")
	if err := p.Observe(tr.id(dir)); err != nil {
		t.Fatal(err)
	}
	tr.start(dir, "spin 1")
	for deadline := time.Now().Add(time.Minute); p.Lost() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ring does not get full")
		}
	}
}

// The verifier's work is that of each start of the agent, and an emulated machine's
// patience.
func TestPeriodsAreSoonVerified(t *testing.T) {
	newTree(t)
	p := openedPeriods(t, 1<<16)
	for _, program := range p.collection.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); !ok || n > 50_000 {
			t.Errorf("%d instructions were verified (known: %t)", n, ok)
		} else {
			t.Logf("%d instructions were verified", n)
		}
	}
}

func TestPeriodsWithBPFAndPerfmon(t *testing.T) {
	tr := newTree(t)
	for name, capabilities := range map[string][]uint{"none": nil, "both": {unix.CAP_BPF, unix.CAP_PERFMON}} {
		var p *Periods
		withCapabilities(t, capabilities, func() { p = OpenPeriods() })
		t.Cleanup(func() { _ = p.Close() })
		s := p.Status()
		t.Logf("%s: %q, %v", name, s.How, s.Err)
		switch {
		case name == "none" && (s.Up() || reasonOf(s.Err) != bpf.NoPermission || p.Observe(tr.id(tr.pod)) == nil):
			t.Errorf("without rights: %q, %v", s.How, s.Err)
		case name == "both" && !s.Up() && reasonOf(s.Err) != bpf.Paranoid: // as TestWithBPFAndPerfmon
			t.Errorf("with both: %v", s.Err)
		}
	}
}
