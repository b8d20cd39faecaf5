// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

var now = time.Unix(1_800_000_000, 0)

func containerKey(name string) ledger.Key {
	return ledger.Key{Level: cgroupfs.LevelContainer, QoS: cgroupfs.Burstable, Namespace: "shop", Pod: "web-0", Container: name, Named: true}
}

func unnamedKey(id string) ledger.Key {
	return ledger.Key{Level: cgroupfs.LevelContainer, QoS: cgroupfs.Burstable, Pod: "uid-1", Container: id}
}

func usage(micros uint64) *cgroupfs.Reading {
	var r cgroupfs.Reading
	r.Set(cgroupfs.CPUUsage, micros)
	return &r
}

func total(s *ledger.Series) uint64 {
	v, _ := s.Total().Get(cgroupfs.CPUUsage)
	return v
}

func record(b *ledger.Book, inc *ledger.Incarnation, micros uint64) {
	b.Record(inc, usage(micros), ledger.Counters())
}

func TestCountsGoOnWithTheNextIncarnation(t *testing.T) {
	b := ledger.NewBook(10)
	first := b.Open(containerKey("app"), 100)
	record(b, first, 70)
	b.Close(first, now)
	s := b.Find(containerKey("app"))
	if total(s) != 70 || s.Ended() != now || s.Newest() != nil {
		t.Fatalf("after the end: total %d, ended %v", total(s), s.Ended())
	}
	second := b.Open(containerKey("app"), 200)
	record(b, second, 5)
	if total(s) != 75 || s.Starts() != 2 || !s.Ended().IsZero() {
		t.Fatalf("second incarnation: total %d, starts %d, ended %v", total(s), s.Starts(), s.Ended())
	}
}

func TestOverlappingIncarnationsAddUp(t *testing.T) {
	b := ledger.NewBook(10)
	old, young := b.Open(containerKey("app"), 100), b.Open(containerKey("app"), 200)
	record(b, old, 70)
	record(b, young, 1)
	s := old.Series()
	if total(s) != 71 || s.Newest() != young {
		t.Fatalf("total %d, newest %v", total(s), s.Newest().Cgroup())
	}
	b.Close(old, now)
	record(b, young, 2)
	if total(s) != 72 || !s.Ended().IsZero() {
		t.Fatalf("total %d, ended %v", total(s), s.Ended())
	}
}

func TestFallWithinOneCgroupIsHeld(t *testing.T) {
	b := ledger.NewBook(10)
	inc := b.Open(containerKey("app"), 100)
	record(b, inc, 70)
	record(b, inc, 30)
	if got := total(inc.Series()); got != 70 {
		t.Fatalf("total %d after a fall, want 70", got)
	}
	record(b, inc, 35)
	if got := total(inc.Series()); got != 75 || b.Stats().Fell != 1 {
		t.Fatalf("total %d, fell %d", got, b.Stats().Fell)
	}
}

// However those who read divide CPU time, both modes together are what was used,
// and neither falls.
func TestModesTogetherAreWhatWasUsed(t *testing.T) {
	b := ledger.NewBook(10)
	inc := b.Open(containerKey("app"), 100)
	var lastUser, lastSystem uint64
	for _, step := range [][2]uint64{{600, 350}, {595, 355}, {595, 355}, {700, 300}, {650, 350}, {649, 350}, {800, 360}, {0, 1200}} {
		var r cgroupfs.Reading
		r.Set(cgroupfs.CPUUser, step[0])
		r.Set(cgroupfs.CPUSystem, step[1])
		b.Record(inc, &r, ledger.Counters())
		sum := b.Find(containerKey("app")).Total()
		user, _ := sum.Get(cgroupfs.CPUUser)
		system, _ := sum.Get(cgroupfs.CPUSystem)
		if want := max(step[0]+step[1], lastUser+lastSystem); user+system != want || user < lastUser || system < lastSystem {
			t.Errorf("read %v: user %d and system %d after %d and %d, want %d in all", step, user, system, lastUser, lastSystem, want)
		}
		if shown, _ := r.Get(cgroupfs.CPUUser); shown != user {
			t.Errorf("read %v: the reading has %d of user, the total %d", step, shown, user)
		}
		lastUser, lastSystem = user, system
	}
	if b.Stats().Fell != 0 {
		t.Error("a split that moved is no counter that fell")
	}
}

func TestFloorIgnoresLateDifferences(t *testing.T) {
	b := ledger.NewBook(10)
	inc := b.Open(ledger.Key{Level: cgroupfs.LevelQoS, QoS: cgroupfs.Guaranteed}, 1)
	for _, v := range []uint64{70, 68, 71} {
		b.RecordFloor(inc, usage(v), ledger.Counters())
	}
	if got := total(inc.Series()); got != 71 {
		t.Fatalf("total %d, want 71", got)
	}
}

func TestRenameKeepsCountsAndStarts(t *testing.T) {
	b := ledger.NewBook(10)
	gone := b.Open(containerKey("app"), 50)
	record(b, gone, 1000)
	b.Close(gone, now)

	inc := b.Open(unnamedKey("0123456789ab"), 100)
	record(b, inc, 70)
	record(b, inc, 60) // held: 10 of it are in the unnamed series' base
	unnamed := inc.Series().Number()
	b.Rename(inc, containerKey("app"))

	if b.Find(unnamedKey("0123456789ab")) != nil {
		t.Error("the unnamed series is still there")
	}
	s := b.Find(containerKey("app"))
	if total(s) != 1070 || s.Starts() != 2 || s.Number() == unnamed || inc.Series() != s {
		t.Errorf("total %d, starts %d, number %d", total(s), s.Starts(), s.Number())
	}
	b.Rename(inc, containerKey("app"))
	if s.Starts() != 2 {
		t.Errorf("renaming twice counted a start: %d", s.Starts())
	}
}

func TestRenameOfTheWrongName(t *testing.T) {
	b := ledger.NewBook(10)
	old := b.Open(containerKey("app"), 50)
	record(b, old, 1000)
	b.Close(old, now)
	wrong := b.Open(containerKey("app"), 60)
	record(b, wrong, 5)
	b.Rename(wrong, containerKey("other"))
	if app, other := b.Find(containerKey("app")), b.Find(containerKey("other")); app != nil && total(app) != 1000 || total(other) != 5 {
		t.Errorf("app %v, other %d", app, total(other))
	}
}

func TestExpire(t *testing.T) {
	b := ledger.NewBook(2)
	for i := range 5 {
		inc := b.Open(containerKey(fmt.Sprint("c", i)), uint64(100+i))
		b.Close(inc, now.Add(time.Duration(i)*time.Second))
	}
	b.Open(containerKey("alive"), 200)
	var dropped []string
	note := func(s *ledger.Series) { dropped = append(dropped, s.Key().Container) }

	b.Expire(now.Add(time.Second), note)
	want := []string{"c0", "c1", "c2"} // two by age, one by the bound of two
	if diff := cmp.Diff(want, dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ledger.Stats{Ended: 2, LostEnded: 1}, b.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	b.Expire(now.Add(time.Hour), note)
	if len(b.Series()) != 1 || b.Stats().Ended != 0 {
		t.Errorf("%d series left, %d ended", len(b.Series()), b.Stats().Ended)
	}
}

func TestStateAcrossAgentRestart(t *testing.T) {
	b := ledger.NewBook(10)
	app, gone := b.Open(containerKey("app"), 100), b.Open(containerKey("gone"), 101)
	record(b, app, 70)
	record(b, gone, 30)
	class := b.Open(ledger.Key{Level: cgroupfs.LevelQoS, QoS: cgroupfs.Burstable}, 7)
	class.Series().Accumulate(cgroupfs.CPUPeriods, 9)
	state := b.AppendState(nil, "boot-1")

	t.Run("same boot", func(t *testing.T) {
		b := ledger.NewBook(10)
		if err := b.Load(state, "boot-1", now); err != nil {
			t.Fatal(err)
		}
		// The names are not known yet, but the cgroup is.
		inc := b.Open(unnamedKey("0123456789ab"), 100)
		record(b, inc, 75)
		if s := inc.Series(); s.Key() != containerKey("app") || total(s) != 75 || s.Starts() != 1 {
			t.Errorf("found again as %v with total %d, starts %d", s.Key(), total(s), s.Starts())
		}
		if !b.Knows(cgroupfs.LevelContainer, 101) || b.Knows(cgroupfs.LevelContainer, 999) {
			t.Error("does not know what was loaded")
		}
		if n := b.CloseUnseen(now, func(cgroup uint64) bool { return cgroup == 7 }, nil); n != 1 {
			t.Errorf("%d ended while nobody looked, want 1", n)
		}
		if s := b.Find(containerKey("gone")); total(s) != 30 || s.Ended() != now {
			t.Errorf("gone: total %d, ended %v", total(s), s.Ended())
		}
		periods, _ := b.Find(class.Series().Key()).Total().Get(cgroupfs.CPUPeriods)
		if periods != 9 {
			t.Errorf("accumulated periods %d, want 9", periods)
		}
	})
	t.Run("after a reboot", func(t *testing.T) {
		b := ledger.NewBook(10)
		if err := b.Load(state, "boot-2", now); err != nil {
			t.Fatal(err)
		}
		inc := b.Open(containerKey("app"), 100) // the same id, another cgroup
		record(b, inc, 5)
		if s := inc.Series(); total(s) != 75 || s.Starts() != 2 {
			t.Errorf("total %d, starts %d; want 75, 2", total(s), s.Starts())
		}
	})
}

func TestLoadRefusesWhatItDidNotWrite(t *testing.T) {
	b := ledger.NewBook(10)
	record(b, b.Open(containerKey("app"), 100), 70)
	state := b.AppendState(nil, "boot-1")
	for cut := range len(state) {
		fresh := ledger.NewBook(10)
		if err := fresh.Load(state[:cut], "boot-1", now); !errors.Is(err, ledger.ErrState) {
			t.Fatalf("cut at %d of %d: error %v", cut, len(state), err)
		}
		if len(fresh.Series()) != 0 {
			t.Fatalf("cut at %d: the book is not empty", cut)
		}
	}
	if err := ledger.NewBook(10).Load(append(state, 0), "boot-1", now); !errors.Is(err, ledger.ErrState) {
		t.Errorf("a byte too many: error %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	b := ledger.NewBook(10)
	record(b, b.Open(containerKey("app"), 100), 70)
	b.Close(b.Open(containerKey("gone"), 101), now)
	f.Add(b.AppendState(nil, "boot-1"))
	f.Fuzz(func(t *testing.T, state []byte) {
		b := ledger.NewBook(10)
		if err := b.Load(state, "boot-1", now); err != nil {
			return
		}
		again := ledger.NewBook(10)
		if err := again.Load(b.AppendState(nil, "boot-1"), "boot-1", now); err != nil {
			t.Fatalf("what was loaded does not load again: %v", err)
		}
		if len(again.Series()) != len(b.Series()) {
			t.Fatalf("%d series became %d", len(b.Series()), len(again.Series()))
		}
	})
}

// TestTotalsNeverFall plays random lives of containers against the plain rule:
// a series' total is the sum of the last values of all its cgroups, whatever
// happens to the agent.
func TestTotalsNeverFall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := ledger.NewBook(1000)
		names := []string{"a", "b"}
		last := map[uint64]uint64{}
		owner := map[uint64]string{}
		living := map[uint64]bool{}
		next := uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				b.Open(containerKey(name), next)
				owner[next], living[next] = name, true
				next++
			case 1:
				for id := range next {
					if !living[id] {
						continue
					}
					last[id] += uint64(rapid.IntRange(0, 1000).Draw(t, "grow"))
					record(b, b.Open(unnamedKey("x"), id), last[id])
				}
			case 2:
				if id := rapid.Uint64Range(1, next).Draw(t, "id"); living[id] {
					b.Close(b.Open(unnamedKey("x"), id), now)
					delete(living, id)
				}
			case 3:
				state := b.AppendState(nil, "boot-1")
				b = ledger.NewBook(1000)
				if err := b.Load(state, "boot-1", now); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range names {
				want := uint64(0)
				for id, v := range last {
					if owner[id] == name {
						want += v
					}
				}
				if s := b.Find(containerKey(name)); s != nil && total(s) != want || s == nil && want != 0 {
					t.Fatalf("%s: total %v, want %d", name, s, want)
				}
			}
		}
	})
}

func BenchmarkAppendState(b *testing.B) {
	book := ledger.NewBook(1000)
	for i := range 440 {
		inc := book.Open(containerKey(fmt.Sprint("container-", i)), uint64(i+1))
		var r cgroupfs.Reading
		for j, f := range ledger.Counters() {
			r.Set(f, uint64(i*j*1000))
		}
		book.Record(inc, &r, ledger.Counters())
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = book.AppendState(buf[:0], "boot-1")
	}
	b.ReportMetric(float64(len(buf)), "bytes/state")
}

func TestAnEndedSeriesIsAdoptedByItsName(t *testing.T) {
	later := now.Add(time.Minute)
	for name, prepare := range map[string]func(*ledger.Book){
		"new": func(*ledger.Book) {},
		"alive": func(b *ledger.Book) {
			record(b, b.Open(containerKey("app"), 1), 1000)
		},
		"ended": func(b *ledger.Book) {
			inc := b.Open(containerKey("app"), 1)
			record(b, inc, 1000)
			b.Close(inc, now)
		},
	} {
		b := ledger.NewBook(10)
		prepare(b)
		inc := b.Open(unnamedKey("id-2"), 2)
		record(b, inc, 7)
		if b.Adopt(inc.Series(), containerKey("app")) != nil {
			t.Errorf("%s: a living series was adopted", name)
		}
		b.Close(inc, later)
		from := inc.Series()
		to := b.Adopt(from, containerKey("app"))
		if to == nil || b.Find(unnamedKey("id-2")) != nil || b.Adopt(from, containerKey("app")) != nil {
			t.Errorf("%s: adopted %v", name, to)
			continue
		}
		type state struct {
			Total, Starts uint64
			Ended         time.Time
			Count         int
		}
		want := map[string]state{"new": {7, 1, later, 1}, "alive": {1007, 2, time.Time{}, 0}, "ended": {1007, 2, later, 1}}[name]
		if diff := cmp.Diff(want, state{total(to), to.Starts(), to.Ended(), b.Stats().Ended}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
