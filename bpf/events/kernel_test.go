// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	if os.Getenv(fewRightsEnv) != "" {
		os.Exit(withFewRights())
	}
	os.Exit(m.Run())
}

// open opens a reader that tells of what is below the tree's kubepods.
func open(t testing.TB, tree *kubetree.Tree, cfg events.Config) *events.Reader {
	t.Helper()
	r, err := events.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the reader: %v", err)
		}
	})
	for _, s := range r.Status() {
		t.Logf("%s: %s (%v)", s.Program, s.How, s.Err)
	}
	if err := r.SetKubepods(idOf(t, tree.Kubepods())); err != nil {
		t.Fatal(err)
	}
	return r
}

func idOf(t testing.TB, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatalf("stat %s: %v", dir, err)
	}
	return st.Ino
}

// recorder keeps what it is told.
type recorder struct {
	births []events.Birth
	deaths []events.Death
	late   []events.Late
	kills  []events.Kill
}

func (r *recorder) OnBirth(b *events.Birth) { r.births = append(r.births, *b) }
func (r *recorder) OnDeath(d *events.Death) { r.deaths = append(r.deaths, *d) }
func (r *recorder) OnLate(l *events.Late)   { r.late = append(r.late, *l) }
func (r *recorder) OnKill(k *events.Kill)   { r.kills = append(r.kills, *k) }

func TestProgramsAttach(t *testing.T) {
	treetest.Need(t)
	r, err := events.Open(events.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Status() {
		if !s.Up() || s.Err != nil {
			t.Errorf("%s: how %q, %+v", s.Program, s.How, s.Err)
		}
		t.Logf("%s: %s", s.Program, s.How)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// What cpu.stat and its neighbours say between the last process's end and the
// removal is what the removal tells.
func TestDeathTellsTheLastCounters(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "short", Containers: []kubetree.ContainerSpec{{Name: "keeper"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, tree, events.Config{})
	// A cgroup elsewhere is nobody's business.
	elsewhere := filepath.Join(treetest.Root, "elsewhere.slice")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(elsewhere); err != nil {
		t.Fatal(err)
	}
	keeper := tree.Containers(pod)[0]
	for _, readBefore := range []bool{true, false} {
		name := fmt.Sprintf("read before %v", readBefore)
		parentBefore := usageOfOthers(t, pod, keeper)
		spec := kubetree.ContainerSpec{
			Name: "job", Work: work.Cmd("spin cpu=120ms"),
			Resources: kubetree.Resources{CPULimitMilli: 400, MemoryLimitBytes: 64 << 20},
		}
		c, err := tree.StartContainer(pod, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Wait(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		id := idOf(t, c.Path)
		var file truth.Cgroup
		if readBefore {
			file = readStill(t, c.Path)
		}
		if err := tree.RemoveContainer(c); err != nil {
			t.Fatal(err)
		}
		var got recorder
		r.Drain(&got)
		if len(got.births) != 1 || len(got.deaths) != 1 {
			t.Fatalf("%s: %d births and %d deaths, want one of each: %+v", name, len(got.births), len(got.deaths), got)
		}
		b, d := got.births[0], got.deaths[0]
		if b.ID != id || d.ID != id || b.ParentID != idOf(t, pod.Path) || d.ParentID != b.ParentID {
			t.Errorf("%s: birth of %d below %d, death of %d below %d; the container was %d below %d", name, b.ID, b.ParentID, d.ID, d.ParentID, id, idOf(t, pod.Path))
		}
		if want := filepath.Base(c.Path); b.Name != want || d.Name != want {
			t.Errorf("%s: names %q and %q, want %q", name, b.Name, d.Name, want)
		}
		if since := time.Since(b.Time); since < 0 || since > 5*time.Minute || !d.Time.After(b.Time) {
			t.Errorf("%s: born at %v, died at %v, now %v", name, b.Time, d.Time, time.Now())
		}
		used := func() uint64 { return usageOfOthers(t, pod, keeper) - parentBefore }
		compareUsage(t, name+": usage against the pod's growth", awaitUsage(r, &got, used), used())
		if readBefore {
			compareFinal(t, d.Final, file)
		}
	}
	if lifecycle, oom := r.Tallies(); lifecycle != (events.Tally{}) || oom != (events.Tally{}) {
		t.Errorf("tallies %+v, %+v, want none", lifecycle, oom)
	}
}

// usageOfOthers is what the pod was charged without its sandbox and keeper, which
// use some now and then, but not while this is read.
func usageOfOthers(t testing.TB, pod *kubetree.Pod, keeper *kubetree.Container) uint64 {
	t.Helper()
	for {
		before := cpuUsage(t, pod.Sandbox.Path) + cpuUsage(t, keeper.Path)
		all := cpuUsage(t, pod.Path)
		if after := cpuUsage(t, pod.Sandbox.Path) + cpuUsage(t, keeper.Path); after == before {
			return all - after
		}
	}
}

func cpuUsage(t testing.TB, dir string) uint64 {
	t.Helper()
	f, err := truth.ReadFile(dir, "cpu.stat")
	if err != nil {
		t.Fatal(err)
	}
	n, _, ok := truth.Cgroup{"cpu.stat": f}.Value("cpu.stat", "usage_usec")
	if !ok {
		t.Fatalf("no usage_usec in cpu.stat of %s", dir)
	}
	return n
}

// readStill reads a cgroup when its last task, which was waited for, has left its
// CPU too.
func readStill(t testing.TB, dir string) truth.Cgroup {
	t.Helper()
	for last := uint64(0); ; time.Sleep(300 * time.Millisecond) {
		file, err := truth.ReadCgroup(dir)
		if err != nil {
			t.Fatal(err)
		}
		if now := cpuUsage(t, dir); now == last {
			return file
		} else {
			last = now
		}
	}
}

// awaitUsage returns the newest counters of the one cgroup that died, as soon
// as its corrections have come to what was used, or after some seconds.
func awaitUsage(r *events.Reader, got *recorder, used func() uint64) cgroupfs.Reading {
	final := got.deaths[0].Final
	for range 50 {
		r.Drain(got)
		if n := len(got.late); n > 0 {
			final = got.late[n-1].Final
		}
		if told, _ := final.Get(cgroupfs.CPUUsage); told+2 >= used() {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return final
}

// compareUsage allows a thousandth and 200 µs, as what a process uses on its way
// into its cgroup may be charged to the pod.
func compareUsage(t *testing.T, what string, final cgroupfs.Reading, want uint64) {
	t.Helper()
	got, ok := final.Get(cgroupfs.CPUUsage)
	if !ok {
		t.Errorf("%s: no CPU usage", what)
		return
	}
	t.Logf("%s: %d µs, want %d", what, got, want)
	if diff := int64(got) - int64(want); diff < -int64(want/1000+200) || diff > int64(want/1000+200) {
		t.Errorf("%s: %d µs, want %d", what, got, want)
	}
	user, _ := final.Get(cgroupfs.CPUUser)
	system, _ := final.Get(cgroupfs.CPUSystem)
	if sum := user + system; sum > got || sum+2 < got {
		t.Errorf("%s: user %d and system %d do not add up to %d", what, user, system, got)
	}
}

// compareFinal compares all that a death tells with the files.
func compareFinal(t *testing.T, final cgroupfs.Reading, files truth.Cgroup) {
	t.Helper()
	var told []string
	for f := range cgroupfs.NumFields {
		got, ok := final.Get(f)
		if !ok {
			continue
		}
		told = append(told, f.String())
		info := f.Info()
		if f == cgroupfs.CPUUser || f == cgroupfs.CPUSystem || f == cgroupfs.CPUUsage {
			continue // compared with the parent
		}
		want, isMax, ok := files.Value(info.File, info.Key)
		if isMax {
			want = cgroupfs.Unlimited
		}
		if !ok && (info.File == "memory.swap.events" || info.File == "cpu.max") {
			continue
		}
		if f == cgroupfs.CPUPeriods && got <= want+2 {
			continue // its timer runs on for a moment
		}
		if !ok || got != want {
			t.Errorf("%v: %d told, %d in the file (there: %v)", f, got, want, ok)
		}
	}
	t.Logf("told: %s", strings.Join(told, ", "))
	for _, f := range []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.CPUThrottled, cgroupfs.MemoryPeak, cgroupfs.MemoryEventOOMKill, cgroupfs.MemoryLocalEventOOM} {
		if !final.Has(f) {
			t.Errorf("%v is not told", f)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
