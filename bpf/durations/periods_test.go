// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
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

// observed is a container whose periods are told.
type observed struct {
	dir            string
	length, quota  time.Duration
	threads        int
	told           []Period
	later          map[time.Duration]bool // what it was, by the throttle program's intervals
	before, after  time.Duration          // in the kernel's clock
	nrPeriods      uint64                 // of cpu.stat, as what follows
	nrThrottled    uint64
	usage, stalled time.Duration
}

// What periods tell adds up to what cpu.stat says, and only of what is observed.
func TestPeriodsAreTheKernels(t *testing.T) {
	tr := newTree(t)
	p := openedPeriods(t, 1<<16)
	intervals := map[uint64][]throttleInterval{}
	r := open(t, tr.place)
	r.onInterval = func(in *throttleInterval) { intervals[in.Cgroup] = append(intervals[in.Cgroup], *in) }
	one := &observed{dir: tr.pod + "/one", length: 100 * time.Millisecond, quota: 20 * time.Millisecond, threads: 1}
	many := &observed{dir: tr.pod + "/many", length: 50 * time.Millisecond, quota: 30 * time.Millisecond, threads: 3}
	all, other := []*observed{one, many}, tr.pod+"/other"
	tr.mkdir(other)
	tr.write(other, "cpu.max", "10000 100000")
	stops := []func(){tr.start(other, "spin 1")}
	byID := map[uint64]*observed{}
	for _, o := range all {
		tr.mkdir(o.dir)
		tr.write(o.dir, "cpu.max", fmt.Sprintf("%d %d", o.quota.Microseconds(), o.length.Microseconds()))
		byID[tr.id(o.dir)], o.before = o, monotonic(t)
		if err := p.Observe(tr.id(o.dir)); err != nil {
			t.Fatal(err)
		}
		stops = append(stops, tr.start(o.dir, fmt.Sprintf("spin %d", o.threads)))
	}
	time.Sleep(2 * time.Second)
	for _, stop := range stops {
		stop()
	}
	for _, dir := range []string{one.dir, many.dir, other} {
		tr.empty(dir)
	}
	time.Sleep(500 * time.Millisecond)
	drain(t, r)
	p.Drain(func(in Period) {
		o := byID[in.Cgroup]
		if o == nil {
			t.Errorf("told of cgroup %d", in.Cgroup)
			return
		}
		o.told = append(o.told, in)
	})
	for _, o := range all {
		o.later = laters(intervals[tr.id(o.dir)], o.length/4)
		o.read(tr)
		o.check(t)
	}
	if p.Lost() != 0 {
		t.Errorf("%d lost", p.Lost())
	}
	p.Ignore(tr.id(one.dir))
	stop := tr.start(one.dir, "spin 1")
	time.Sleep(time.Second)
	stop()
	p.Drain(func(in Period) { t.Errorf("told of what is not observed: %+v", in) })
}

func monotonic(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// read takes what the kernel says in the end.
func (o *observed) read(tr *tree) {
	o.after = monotonic(tr.t.(*testing.T))
	number := func(key string) uint64 { return tr.number(o.dir, "cpu.stat", key) }
	o.nrPeriods, o.nrThrottled = number("nr_periods "), number("nr_throttled ")
	o.usage = time.Duration(number("usage_usec ")) * time.Microsecond
	o.stalled = time.Duration(number("throttled_usec ")) * time.Microsecond
}

func (o *observed) check(t *testing.T) {
	t.Helper()
	if len(o.told) < 3 || o.nrThrottled == 0 {
		t.Fatalf("%s: %d periods told; cpu.stat: %d, %d throttled", o.dir, len(o.told), o.nrPeriods, o.nrThrottled)
	}
	o.checkEach(t)
	o.checkCounts(t)
	var used time.Duration
	cpus, waiting, shared, unknown := 0, 0, 0, 0
	for _, in := range o.told {
		used += in.Quota - in.Left
		cpus, waiting = max(cpus, in.CPUs), max(waiting, in.Waiting)
		if in.CPUs > 1 {
			shared++
			if in.Later == 0 || !o.later[in.Later] {
				unknown++
			}
		}
	}
	t.Logf("%s: %d periods, %v used, %d tasks on %d CPUs, %d on several; cpu.stat: %d periods, %d throttled, %v used, %v held",
		o.dir, len(o.told), used, waiting, cpus, shared, o.nrPeriods, o.nrThrottled, o.usage, o.stalled)
	if used < o.usage*8/10 || used > o.usage*12/10+20*time.Millisecond {
		t.Errorf("%s: %v used; cpu.stat: %v", o.dir, used, o.usage)
	}
	if cpus == 0 || waiting < o.threads || waiting > o.threads+3 {
		t.Errorf("%s: %d tasks waited on %d CPUs, of %d that are busy", o.dir, waiting, cpus, o.threads)
	}
	// A CPU may be held after the period was told and before it is released.
	if unknown > shared/10 || shared == 0 && o.threads > 1 && runtime.NumCPU() > 1 {
		t.Errorf("%s: %d of %d periods were held later on other CPUs than intervals say: %v", o.dir, unknown, shared, o.later)
	}
	// Nothing was held any more when the last one ended.
	if ungiven := o.stalled - o.told[len(o.told)-1].Stall; ungiven < -time.Microsecond || ungiven > o.stalled/50+time.Microsecond {
		t.Errorf("%s: held for %v; cpu.stat: %v", o.dir, o.told[len(o.told)-1].Stall, o.stalled)
	}
}

// checkEach holds the periods against cpu.max, the clock and each other.
func (o *observed) checkEach(t *testing.T) {
	t.Helper()
	end, stall := o.before, time.Duration(0)
	for _, in := range o.told {
		if in.Length != o.length || in.Quota != o.quota || in.Burst != 0 || in.Left > in.Quota {
			t.Errorf("%s: %+v with a quota of %v in %v", o.dir, in, o.quota, o.length)
		}
		if in.CPUs > 0 && !in.Held || in.CPUs < 2 && in.Later != 0 {
			t.Errorf("%s: %+v", o.dir, in)
		}
		if in.End <= end || in.End > o.after || in.Stall < stall || in.Stall > o.stalled+time.Microsecond {
			t.Errorf("%s: %+v after one that ended at %v, held for %v; it is %v, and cpu.stat says %v", o.dir, in, end, stall, o.after, o.stalled)
		}
		end, stall = in.End, in.Stall
	}
}

// checkCounts finds periods that were not told: Count says so, unless the timer was
// late enough to make one call of them. It goes off in a rhythm that does not move.
func (o *observed) checkCounts(t *testing.T) {
	t.Helper()
	begin := time.Duration(math.MaxInt64)
	for _, in := range o.told {
		begin = min(begin, in.End-time.Duration(in.Count)*o.length)
	}
	missing, held, heldCalls := int(o.told[0].Count), uint64(0), uint64(0)
	for i, in := range o.told {
		next := o.nrPeriods
		if i+1 < len(o.told) {
			next = uint64(o.told[i+1].Count)
		}
		if next <= uint64(in.Count) {
			t.Errorf("%s: count %d, then %d", o.dir, in.Count, next)
			continue
		}
		made := next - uint64(in.Count)
		late := in.End - begin - time.Duration(in.Count)*o.length
		// The call itself takes a while.
		missing += max(0, int(made)-1-int((late+o.length/4)/o.length))
		if in.Held {
			held += made
			heldCalls++
		}
	}
	if missing > 1 { // an emulated machine stands still just there
		t.Errorf("%s: %d of %d periods are missing: %+v", o.dir, missing, o.nrPeriods, o.told)
	}
	// Of several in one call, only the first was certainly held.
	if o.nrThrottled < heldCalls || o.nrThrottled > held {
		t.Errorf("%s: held in %d calls, of %d periods; cpu.stat: %d", o.dir, heldCalls, held, o.nrThrottled)
	}
}

// laters returns by how much later than on the first CPU of them a container was
// held on the others, added, for each set of intervals that ended together.
func laters(intervals []throttleInterval, together time.Duration) map[time.Duration]bool {
	all := map[time.Duration]bool{}
	slices.SortFunc(intervals, func(a, b throttleInterval) int { return cmp.Compare(a.EndNs, b.EndNs) })
	for i := 0; i < len(intervals); {
		first, sum, n, end := uint64(math.MaxUint64), uint64(0), uint64(0), intervals[i].EndNs
		for ; i < len(intervals) && intervals[i].EndNs-end < uint64(together); i++ {
			if in := &intervals[i]; in.LengthNs > 0 {
				start := in.EndNs - in.LengthNs
				first, sum, n = min(first, start), sum+start, n+1
			}
		}
		all[time.Duration(sum-n*first)] = true
	}
	return all
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
		case name == "both" && !s.Up() && (reasonOf(s.Err) != bpf.Paranoid || paranoia(t) < 3): // as TestWithBPFAndPerfmon
			t.Errorf("with both, and perf_event_paranoid %d: %v", paranoia(t), s.Err)
		}
	}
}
