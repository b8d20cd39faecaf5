// SPDX-License-Identifier: Apache-2.0

package lives

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var epoch = time.Unix(1_800_000_000, 123_000_000)

func known(n int64) snapshot.Amount { return snapshot.Amount{N: n, Known: true} }

// life is the one of a cgroup that ended so many seconds after the epoch.
func life(container string, cgroup uint64) snapshot.Life {
	ended := epoch.Add(time.Duration(cgroup) * time.Second)
	return snapshot.Life{
		Namespace: "shop", Pod: "web-0", Container: container, QoS: cgroupfs.Burstable, PodUID: "uid", ContainerID: fmt.Sprint("id-", cgroup),
		CgroupID: cgroup, Started: ended.Add(-time.Minute), Ended: ended, End: snapshot.LifeEnded,
		CPUMicros: known(int64(cgroup)), MemoryPeakBytes: known(7 << 20),
	}
}

// add adds lives of a container, one a second.
func add(b *Book, container string, cgroups ...uint64) (dropped int) {
	for _, c := range cgroups {
		dropped += b.Add(life(container, c), life(container, c).Ended)
	}
	return dropped
}

func upTo(from, n uint64) (all []uint64) {
	for i := range n {
		all = append(all, from+i)
	}
	return all
}

// shown is "container cgroup" of each life.
func shown(b *Book) []string {
	var all []string
	for _, l := range b.Newest() {
		all = append(all, fmt.Sprint(l.Container, " ", l.CgroupID))
	}
	return all
}

func TestNewestOfEachContainer(t *testing.T) {
	b := New("boot")
	add(b, "quiet", 1)
	if dropped := add(b, "loop", upTo(2, PerContainer+4)...); dropped != 0 {
		t.Errorf("%d counted as dropped: a container's own bound is told by its starts", dropped)
	}
	var want []string
	for c := range uint64(PerContainer) {
		want = append(want, fmt.Sprint("loop ", PerContainer+5-c))
	}
	want = append(want, "quiet 1")
	if diff := cmp.Diff(want, shown(b)); diff != "" {
		t.Errorf("lives (-want +got):\n%s", diff)
	}
	if len(b.byCgroup) != PerContainer+1 || len(b.order) != PerContainer+1 {
		t.Errorf("%d cgroups and %d places are kept", len(b.byCgroup), len(b.order))
	}
}

func TestBoundOnAll(t *testing.T) {
	b := New("boot")
	dropped := 0
	for c := range uint64(Most + 10) {
		dropped += add(b, fmt.Sprint(c), c)
	}
	got := b.Newest()
	if dropped != 10 || len(got) != Most || got[Most-1].CgroupID != 10 || len(b.byName) != Most {
		t.Errorf("%d dropped, %d kept of %d containers, the oldest is %d", dropped, len(got), len(b.byName), got[len(got)-1].CgroupID)
	}
}

func TestRetention(t *testing.T) {
	b := New("boot")
	add(b, "a", 1, 2)
	add(b, "b", 3)
	unknown := life("b", 4)
	unknown.Ended = time.Time{} // then what counts is when it was noticed
	b.Add(unknown, epoch.Add(4*time.Second))
	for seconds, want := range [][]string{{"b 4", "b 3", "a 2", "a 1"}, {"b 4", "b 3", "a 2", "a 1"}, {"b 4", "b 3", "a 2"}, {"b 4", "b 3"}, {"b 4"}, nil} {
		b.Expire(epoch.Add(time.Duration(seconds) * time.Second))
		if diff := cmp.Diff(want, shown(b)); diff != "" {
			t.Errorf("%d s (-want +got):\n%s", seconds, diff)
		}
	}
	if len(b.byCgroup) != 0 || len(b.byName) != 0 || len(b.order) != 0 {
		t.Errorf("left: %v, %v, %d places", b.byCgroup, b.byName, len(b.order))
	}
}

// What comes after an end changes that life alone, and nothing that a snapshot
// has.
func TestChangesAfterTheEnd(t *testing.T) {
	kill := func(cgroup uint64, after time.Duration) []*snapshot.OOMRecord {
		return []*snapshot.OOMRecord{{ID: 9, CgroupID: cgroup, Time: epoch.Add(time.Duration(cgroup)*time.Second + after)}, {ID: 8, CgroupID: 77}}
	}
	for name, test := range map[string]struct {
		change func(*Book)
		want   func(*snapshot.Life)
	}{
		"names": {
			func(b *Book) { b.Name(2, &snapshot.ContainerIdentity{Namespace: "bank", Pod: "db-0", Name: "db"}) },
			func(l *snapshot.Life) { l.Namespace, l.Pod, l.Container = "bank", "db-0", "db" },
		},
		"late CPU time": {
			func(b *Book) { b.Late(2, 50, 0) },
			func(l *snapshot.Life) { l.CPUMicros = known(50) },
		},
		"late throttling": {
			func(b *Book) { b.Late(2, 1, 5) },
			func(l *snapshot.Life) { l.ThrottledMicros = known(5) },
		},
		"a kill":                       {func(b *Book) { b.NoteKills(kill(2, -KillGrace), epoch) }, func(l *snapshot.Life) { l.End = snapshot.LifeOOMKilled }},
		"a kill that was noticed late": {func(b *Book) { b.NoteKills(kill(2, 2*time.Second), epoch) }, func(l *snapshot.Life) { l.End = snapshot.LifeOOMKilled }},
		"a kill long before":           {func(b *Book) { b.NoteKills(kill(2, -time.Minute), epoch) }, func(*snapshot.Life) {}},
		"a kill elsewhere":             {func(b *Book) { b.NoteKills(kill(5, 0), epoch) }, func(*snapshot.Life) {}},
		"of nobody":                    {func(b *Book) { b.Late(9, 1, 1); b.Name(9, nil); b.Remove(9) }, func(*snapshot.Life) {}},
	} {
		t.Run(name, func(t *testing.T) {
			b := New("boot")
			add(b, "a", 1, 2, 3)
			before := b.Newest()
			old := *before[1]
			test.change(b)
			want := old
			test.want(&want)
			if diff := cmp.Diff(&want, b.Newest()[1]); diff != "" {
				t.Errorf("life (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(&old, before[1]); diff != "" {
				t.Errorf("what was published changed (-was +is):\n%s", diff)
			}
			if diff := cmp.Diff(before[0], b.Newest()[0]); diff != "" {
				t.Errorf("another life (-was +is):\n%s", diff)
			}
		})
	}
}

// The end of a life may be told after the kill, but not long after.
func TestKillBeforeTheEndIsTold(t *testing.T) {
	for late, want := range map[time.Duration]snapshot.LifeEnd{time.Second: snapshot.LifeOOMKilled, time.Minute: snapshot.LifeUnseen} {
		b := New("boot")
		records := []*snapshot.OOMRecord{{ID: 2, CgroupID: 1, Time: epoch}, {ID: 1, CgroupID: 1, Time: epoch}}
		b.NoteKills(records, epoch.Add(late))
		b.Add(snapshot.Life{CgroupID: 1, Ended: epoch, End: snapshot.LifeUnseen}, epoch.Add(late))
		b.NoteKills(records, epoch.Add(late))
		if got := b.Newest()[0].End; got != want {
			t.Errorf("told %v after the kill: %s, want %s", late, got, want)
		}
	}
}

// A life that gets its name takes its place among those of that name.
func TestNamedLifeIsInItsPlace(t *testing.T) {
	b := New("boot")
	add(b, "41340dc9c1d4", 1)
	add(b, "loop", upTo(2, PerContainer)...)
	b.Name(1, &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "loop"})
	if got := shown(b); len(got) != PerContainer || got[PerContainer-1] != "loop 2" {
		t.Errorf("the oldest is not what was dropped: %v", got)
	}
	b.Remove(5)
	if got := shown(b); len(got) != PerContainer-1 || len(b.byName) != 1 {
		t.Errorf("a removed life is still there: %v", got)
	}
}

func TestSteadyBookCostsNothing(t *testing.T) {
	b := New("boot")
	add(b, "a", upTo(1, 10)...)
	records := []*snapshot.OOMRecord{{ID: 4, CgroupID: 77}}
	b.NoteKills(records, epoch)
	b.Newest()
	b.Saved()
	if allocs := testing.AllocsPerRun(20, func() { b.Expire(epoch); b.NoteKills(records, epoch); b.Newest() }); allocs > 0 || b.Changed() {
		t.Errorf("%v allocations, changed %v", allocs, b.Changed())
	}
}

func TestState(t *testing.T) {
	b := New("boot")
	add(b, "a", 1, 2)
	unknown := snapshot.Life{Pod: "uid", Container: "41340dc9c1d4", QoS: cgroupfs.BestEffort, CgroupID: 3, Ended: epoch, End: snapshot.LifeUnseen, MemoryLimitBytes: known(0)}
	b.Add(unknown, epoch)
	state := b.AppendState(nil)
	for _, boot := range []string{"boot", "another"} {
		again := New(boot)
		if err := again.Load(state); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.Newest(), again.Newest()); diff != "" {
			t.Errorf("%s (-written +read):\n%s", boot, diff)
		}
		if again.Changed() {
			t.Errorf("%s: what was just read is to be written", boot)
		}
		// Another boot's cgroup of this number is another one.
		again.Late(2, 900, 0)
		want := map[string]snapshot.Amount{"boot": known(900), "another": known(2)}[boot]
		if diff := cmp.Diff(want, again.Newest()[1].CPUMicros); diff != "" {
			t.Errorf("%s: CPU time told late (-want +got):\n%s", boot, diff)
		}
		again.Expire(epoch.Add(90 * time.Second))
		if got := shown(again); len(got) != 0 {
			t.Errorf("%s: kept over the retention: %v", boot, got)
		}
	}
	for name, wrong := range map[string][]byte{
		"nothing": {}, "another version": append([]byte{99}, state[1:]...), "cut short": state[:len(state)-1], "too long": append(slices.Clip(state), 1),
	} {
		empty := New("boot")
		if err := empty.Load(wrong); !errors.Is(err, ErrState) || len(empty.Newest()) != 0 {
			t.Errorf("%s: %v, %d lives", name, err, len(empty.Newest()))
		}
	}
}
