// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/bpf/durations/stretch"
)

// testBounds are cells of a power of two each.
func testBounds() []uint64 {
	bounds := make([]uint64, 40)
	for i := range bounds {
		bounds[i] = 1 << i
	}
	return bounds
}

// open returns a reader with both programs, or skips the test where there is
// no cgroup v2 and so no kernel that is made for this.
func open(t testing.TB, place Place) *Reader {
	t.Helper()
	r, err := Open(Config{BoundsNanos: testBounds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range r.Status() {
		t.Logf("%s: %q, error %v", s.Program, s.How, s.Err)
		if !s.Up() || s.Err != nil {
			t.Fatalf("%s: %v", s.Program, s.Err)
		}
	}
	if err := r.SetPlace(place); err != nil {
		t.Fatal(err)
	}
	return r
}

func drain(t testing.TB, r *Reader) {
	t.Helper()
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
}

type taken struct {
	Count, Nanos uint64
}

// takeAll returns what there is of a container whose cgroup is taken for gone.
func takeAll(r *Reader, id uint64, ended bool) (of [NumKinds]taken) {
	r.Take(id, ended, func(kind Kind, cells []uint64, nanos uint64) {
		for _, n := range cells {
			of[kind].Count += n
		}
		of[kind].Nanos += nanos
	})
	return of
}

// unite returns how many stretches intervals make, and how long in all.
func unite(intervals []throttleInterval) (all taken) {
	slices.SortFunc(intervals, func(a, b throttleInterval) int {
		return cmp.Compare(a.EndNs-a.LengthNs, b.EndNs-b.LengthNs)
	})
	for i := 0; i < len(intervals); {
		start, end := intervals[i].EndNs-intervals[i].LengthNs, intervals[i].EndNs
		for i++; i < len(intervals) && intervals[i].EndNs-intervals[i].LengthNs <= end; i++ {
			end = max(end, intervals[i].EndNs)
		}
		if length := end - start; length > 0 {
			all.Count += (length + stretch.MaxNanos - 1) / stretch.MaxNanos
			all.Nanos += length
		}
	}
	return all
}

// throttled is a container with what it does.
type throttled struct {
	dir, quota, work string
	bound            bool // to one CPU
	stop             func()
}

// What the ring has no room for is counted, and its length is not lost.
func TestFullRing(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	if err := r.throttle.close(); err != nil {
		t.Fatal(err)
	}
	r.throttle = openThrottle(os.Getpagesize())
	r.place = Place{}
	if err := r.SetPlace(tr.place); err != nil {
		t.Fatal(err)
	}
	dir := tr.pod + "/busy"
	tr.mkdir(dir)
	tr.write(dir, "cpu.max", "1000 4000")
	stop := tr.start(dir, "spin 1")
	for deadline := time.Now().Add(2 * time.Minute); number(r.throttle.collection, throttleVarExcessCount) < 5; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ring does not get full")
		}
	}
	stop()
	tr.empty(dir)
	time.Sleep(100 * time.Millisecond)
	drain(t, r)
	lost, _ := r.Lost()
	a, kernel := r.accounts[tr.id(dir)], tr.number(dir, "cpu.stat", "throttled_usec ")
	if lost == 0 || a.excess.Count != lost || a.rawNanos/1000 != kernel {
		t.Errorf("%d lost, %+v summed, %d ns in all; cpu.stat says %d us", lost, a.excess, a.rawNanos, kernel)
	}
	if got := takeAll(r, tr.id(dir), true)[Throttle]; got.Nanos == 0 || got.Nanos/1000 > kernel {
		t.Errorf("told %+v of %d us", got, kernel)
	}
}

// What the programs counted as lost is told once, whatever becomes of kubepods.
func TestLostNeverFalls(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	set := func(unmatched uint64) {
		if err := r.throttle.collection.Variables[throttleVarUnmatched].Set(unmatched); err != nil {
			t.Fatal(err)
		}
	}
	first := number(r.throttle.collection, throttleVarUnmatched) + 7
	set(first)
	told, _ := r.Lost()
	if told < 7 {
		t.Errorf("%d lost, want 7 at least", told)
	}
	for _, place := range []Place{{}, tr.place} {
		if err := r.SetPlace(place); err != nil {
			t.Fatal(err)
		}
		if now, _ := r.Lost(); now < told {
			t.Errorf("at %+v %d lost, after %d", place, now, told)
		}
	}
	set(first + 2)
	if now, _ := r.Lost(); now < told+2 {
		t.Errorf("%d lost, want %d at least", now, told+2)
	}
}

// What is told is throttled_usec, to the microsecond, and the stretches are
// the union over CPUs; nothing is told of what is no container.
func TestThrottleIsTheKernels(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	second := open(t, tr.place) // another agent's on the same node
	sent := map[uint64][]throttleInterval{}
	r.onInterval = func(in *throttleInterval) { sent[in.Cgroup] = append(sent[in.Cgroup], *in) }

	tr.mkdir(tr.pod + "/a/nested")
	tr.write(tr.pod+"/a", "cgroup.subtree_control", "+cpu") // before there is a process
	containers := []*throttled{
		{dir: tr.pod + "/one", quota: "5000 100000", work: "spin 1", bound: true},
		{dir: tr.pod + "/many", quota: "10000 100000", work: "spin 4"},
		{dir: tr.kubepods + "/pod2/guaranteed", quota: "3000 20000", work: "spin 2"},
	}
	others := []*throttled{
		{dir: tr.pod + "/a/nested", quota: "5000 100000", work: "spin 1"},
		{dir: tr.kubepods + "/besteffort", quota: "300000 100000", work: ""},
		{dir: tr.root + "/outside", quota: "5000 100000", work: "spin 1"},
	}
	for _, c := range slices.Concat(containers, others) {
		tr.mkdir(c.dir)
		tr.write(c.dir, "cpu.max", c.quota)
		if c.bound {
			tr.write(c.dir, "cpuset.cpus", "0")
		}
		if c.work != "" {
			c.stop = tr.start(c.dir, c.work)
		}
	}
	for _, c := range containers {
		tr.until(c.dir, "cpu.stat", "nr_throttled ", 1)
	}
	tr.write(tr.pod, "cpu.max", "18000 100000")
	seconds := 10
	if testing.Short() {
		seconds = 3
	}
	told := map[string]taken{}
	for range seconds {
		time.Sleep(time.Second)
		drain(t, r)
		for _, c := range containers {
			told[c.dir] = plus(told[c.dir], takeAll(r, tr.id(c.dir), false)[Throttle])
		}
	}
	tr.write(tr.pod, "cpu.max", "max 100000") // else they may not even die
	for _, c := range containers {
		c.stop()
		tr.empty(c.dir)
	}
	time.Sleep(300 * time.Millisecond) // what is held without a task is released by the next period
	drain(t, r)
	drain(t, second)
	for _, c := range containers {
		if id := tr.id(c.dir); second.accounts[id] == nil || second.accounts[id].rawNanos != r.accounts[id].rawNanos {
			t.Errorf("%s: another reader has %+v", c.dir, second.accounts[id])
		}
		checkThrottled(t, tr, r, c, sent[tr.id(c.dir)], told[c.dir])
	}
	for _, c := range others {
		if got := sent[tr.id(c.dir)]; got != nil {
			t.Errorf("%s is no container, but %d intervals came", c.dir, len(got))
		}
	}
	if lost, _ := r.Lost(); lost != 0 {
		t.Errorf("%d lost", lost)
	}
}

func plus(a, b taken) taken { return taken{a.Count + b.Count, a.Nanos + b.Nanos} }

func checkThrottled(t *testing.T, tr *tree, r *Reader, c *throttled, sent []throttleInterval, told taken) {
	t.Helper()
	id := tr.id(c.dir)
	raw := uint64(0)
	if a := r.accounts[id]; a != nil {
		raw = a.rawNanos
	}
	if kernel := tr.number(c.dir, "cpu.stat", "throttled_usec "); raw/1000 != kernel || kernel == 0 {
		t.Errorf("%s: intervals of %d ns, cpu.stat says %d us", c.dir, raw, kernel)
	}
	told = plus(told, takeAll(r, id, true)[Throttle])
	if diff := gocmp.Diff(unite(sent), told); diff != "" {
		t.Errorf("%s: told against the union of %d intervals (-union +told):\n%s", c.dir, len(sent), diff)
	}
	if c.bound && (told.Nanos != raw || told.Count != uint64(len(slices.DeleteFunc(sent, func(in throttleInterval) bool { return in.LengthNs == 0 })))) {
		t.Errorf("%s ran on one CPU: told %+v of %d intervals of %d ns", c.dir, told, len(sent), raw)
	}
	t.Logf("%s: %d periods throttled, %d intervals of %d ns, %d stretches of %d ns", c.dir,
		tr.number(c.dir, "cpu.stat", "nr_throttled "), len(sent), raw, told.Count, told.Nanos)
}

func TestHighStallsAreTheMemoryPressure(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	dir := tr.pod + "/high"
	tr.mkdir(dir)
	tr.write(dir, "memory.high", "16M")
	tr.write(dir, "memory.swap.max", "0")
	// PSI weighs CPUs by what else the cgroup does on them: one tells all.
	tr.write(dir, "cpuset.cpus", "0")
	stop := tr.start(dir, "grow 24")
	tr.until(dir, "memory.events", "high ", 1)
	seconds := 10
	if testing.Short() {
		seconds = 5
	}
	time.Sleep(time.Duration(seconds) * time.Second)
	tr.write(dir, "memory.high", "max")
	time.Sleep(2 * time.Second) // the last stall takes up to that long
	stop()
	tr.empty(dir)
	drain(t, r)
	got := takeAll(r, tr.id(dir), true)
	pressure := 1000 * tr.number(dir, "memory.pressure", "total=")
	rounds := tr.number(dir, "memory.events", "high ")
	t.Logf("held %+v, memory.pressure some %d ns, memory.events high %d", got, pressure, rounds)
	// Each stall reclaims up to 16 times, and PSI leaves out what comes between,
	// which an emulated machine takes up to a ms for.
	between := rounds * uint64(time.Millisecond)
	if held := got[StallHigh]; held.Count == 0 || held.Nanos < pressure*99/100 || held.Nanos > pressure*101/100+between {
		t.Errorf("held %+v, memory.pressure some %d ns", got[StallHigh], pressure)
	}
	if got[StallLimit] != (taken{}) || got[Throttle] != (taken{}) {
		t.Errorf("also %+v", got)
	}
}

// The work is in a cgroup below the container's.
func TestLimitStalls(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	dir := tr.pod + "/limit"
	tr.mkdir(dir + "/nested")
	tr.write(dir, "memory.max", "16M")
	stop := tr.start(dir+"/nested", "grow 24")
	tr.until(dir, "memory.events", "max ", 1)
	time.Sleep(2 * time.Second) // without swap it is killed at once, and has been held too
	drain(t, r)
	first := takeAll(r, tr.id(dir), false)
	stop()
	tr.empty(dir)
	drain(t, r)
	got := plus(first[StallLimit], takeAll(r, tr.id(dir), true)[StallLimit])
	pressure := 1000 * tr.number(dir, "memory.pressure", "total=")
	t.Logf("held %+v, memory.pressure some %d ns, memory.events max %d", got, pressure, tr.number(dir, "memory.events", "max "))
	if got.Count == 0 || got.Nanos == 0 || first[StallHigh] != (taken{}) {
		t.Errorf("held at the limit %+v, for memory.high %+v", got, first[StallHigh])
	}
	if _, lost := r.Lost(); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	if n := entries(t, r); n != 0 {
		t.Errorf("%d entries are left in the kernel of a container that is gone", n)
	}
}

func entries(t *testing.T, r *Reader) (n int) {
	t.Helper()
	if err := r.stall.sums.each(r.stall.collection.Maps[stallMapStalls], func(stallStallKey, *stallStallSum) { n++ }); err != nil {
		t.Fatal(err)
	}
	return n
}

// What a container does far below itself is its own, and where that is too far down
// to be found, it is counted.
func TestStallsFarBelow(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	dir := tr.pod + "/deep"
	stall := func(levels int) {
		at := dir + strings.Repeat("/d", levels)
		tr.mkdir(at)
		before := tr.number(dir, "memory.events", "max ")
		stop := tr.start(at, "grow 24")
		tr.until(dir, "memory.events", "max ", before+1)
		time.Sleep(time.Second)
		stop()
		tr.empty(at)
		drain(t, r)
	}
	tr.mkdir(dir)
	tr.write(dir, "memory.max", "16M")
	stall(25)
	_, lost := r.Lost()
	if got := takeAll(r, tr.id(dir), false)[StallLimit]; got.Count == 0 || lost != 0 {
		t.Errorf("25 levels below: held %+v, %d lost", got, lost)
	}
	stall(40)
	_, lost = r.Lost()
	if got := takeAll(r, tr.id(dir), false)[StallLimit]; got.Count != 0 || lost == 0 {
		t.Errorf("40 levels below: held %+v, %d lost", got, lost)
	}
}
