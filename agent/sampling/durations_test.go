// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// kernel is a made-up source of durations, by cgroup id.
type kernel struct {
	place durations.Place
	held  map[uint64][durations.NumKinds][]uint64
	ended []uint64
	lost  uint64
	err   error
}

func (k *kernel) SetPlace(place durations.Place) error {
	k.place = place
	return nil
}
func (k *kernel) Drain() error                   { return k.err }
func (k *kernel) Lost() (throttle, stall uint64) { return k.lost, 0 }
func (k *kernel) Status() []bpf.Status {
	return []bpf.Status{{Program: "throttle", How: "fentry"}, {Program: "stall", Err: errors.New("no hook")}}
}

// broken panics when it is drained.
type broken struct{ *kernel }

func (broken) Drain() error { panic("broken") }

// A panic that waited for Run's own goroutine would leave an agent that stands
// still and says that it is well.
func TestRunEndsWhenASweepPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.container(w.pod(cgroupfs.BestEffort, "uid-1"), "id-1", app)
		a, k := w.startWithDurations(t, nil)
		a.cfg.Durations = broken{k}
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			_ = a.Run(t.Context())
		}()
		if got := <-ended; got != "broken" {
			t.Errorf("Run ended with %v, want the panic", got)
		}
	})
}

// periods are lost, so many.
type periods uint64

func (p periods) Lost() uint64       { return uint64(p) }
func (p periods) Status() bpf.Status { return bpf.Status{Program: "periods", How: "fentry"} }

func (k *kernel) Take(container uint64, ended bool, fold func(durations.Kind, []uint64, uint64)) {
	for kind, lengths := range k.held[container] {
		cells, sum := make([]uint64, len(snapshot.DurationBoundsNanos())+1), uint64(0)
		for i, nanos := range lengths {
			cells[i]++
			sum += nanos
		}
		if len(lengths) > 0 {
			fold(durations.Kind(kind), cells, sum)
		}
	}
	delete(k.held, container)
	if ended {
		k.ended = append(k.ended, container)
	}
}

func (k *kernel) throttle(c *cgroupfs.Cgroup, nanos ...uint64) {
	k.held[c.ID] = [durations.NumKinds][]uint64{durations.Throttle: nanos}
}

func (w *world) startWithDurations(t testing.TB, names map[string]*snapshot.ContainerIdentity) (*agent, *kernel) {
	t.Helper()
	a, k := w.start(t, names), &kernel{held: map[uint64][durations.NumKinds][]uint64{}}
	a.cfg.Durations, a.cfg.HeldJournal = k, &w.held
	if w.held.state != nil {
		var err error
		if a.cfg.Held, err = LoadHeld(w.held.state); err != nil {
			t.Fatal(err)
		}
	}
	return a, k
}

func throttled(c snapshot.Container) string {
	return fmt.Sprintf("%d of %d ns", c.ThrottleDurations.Count(), c.ThrottleDurations.SumNanos())
}

func TestDurationsGoOnOverRestartsOfTheContainer(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, "uid-1")
	web := &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "web", Known: true}
	a, k := w.startWithDurations(t, map[string]*snapshot.ContainerIdentity{"id-1": web, "id-2": web})
	first := w.container(pod, "id-1", app)
	if got := find(t, a.step(), "web"); got.ThrottleDurations != nil {
		t.Errorf("%s before there was any", throttled(got))
	}
	k.throttle(first, 10, 20)
	before := find(t, a.step(), "web")
	k.throttle(first, 5) // and then it dies
	w.remove(first)
	after := find(t, a.step(), "web")
	second := w.container(pod, "id-2", app)
	k.throttle(second, 7)
	last := find(t, a.step(), "web")
	for i, c := range []struct {
		container snapshot.Container
		want      string
	}{{before, "2 of 30 ns"}, {after, "3 of 35 ns"}, {last, "4 of 42 ns"}} {
		if got := throttled(c.container); got != c.want {
			t.Errorf("step %d: %s, want %s", i, got, c.want)
		}
	}
	if diff := cmp.Diff([]uint64{first.ID}, k.ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if now := find(t, a.step(), "web"); now.ThrottleDurations != last.ThrottleDurations {
		t.Error("another histogram although nothing was added")
	}
	if k.place != (durations.Place{Kubepods: w.cgroups[0].ID, Classes: [2]uint64{w.cgroups[1].ID, w.cgroups[2].ID}}) {
		t.Errorf("place %+v", k.place)
	}
}

// A container that gets the name of one that was there before brings what it
// was held with it.
func TestDurationsMoveWithTheName(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, "uid-1")
	web := &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "web", Known: true}
	a, k := w.startWithDurations(t, map[string]*snapshot.ContainerIdentity{"id-1": web})
	k.throttle(w.container(pod, "id-1", app), 10)
	a.step()
	k.throttle(w.container(pod, "id-2", app), 5)
	if got := throttled(find(t, a.step(), "id-2")); got != "1 of 5 ns" {
		t.Errorf("without its name: %s", got)
	}
	a.view.names["id-2"] = web
	if got := throttled(find(t, a.step(), "web")); got != "2 of 15 ns" {
		t.Errorf("with its name: %s", got)
	}
}

func TestDurationSources(t *testing.T) {
	w := newWorld()
	a, k := w.startWithDurations(t, nil)
	k.lost, k.err = 3, errors.New("no map")
	a.cfg.Periods = periods(5)
	a.step() // what was lost is told once
	s := a.step()
	found := map[string]string{}
	for _, source := range s.Sources {
		found[source.Name] = fmt.Sprint(source.Up, source.Reason)
	}
	if found["throttle"] != "true" || found["stall"] != "falseno hook" || found["periods"] != "true" {
		t.Errorf("sources %v", found)
	}
	if a.telemetry.errors["durations"] != 2 || a.telemetry.lost["throttle"] != 3 || a.telemetry.lost["periods"] != 5 {
		t.Errorf("errors %v, lost %v", a.telemetry.errors, a.telemetry.lost)
	}
}

// A counter of losses must not fall, whatever a program says.
func TestLossesNeverFall(t *testing.T) {
	a, k := newWorld().startWithDurations(t, nil)
	for _, step := range []struct{ told, want int }{{3, 3}, {0, 3}, {3, 3}, {4, 4}} {
		k.lost, a.cfg.Periods = uint64(step.told), periods(step.told)
		a.step()
		if a.telemetry.lost["throttle"] != step.want || a.telemetry.lost["periods"] != step.want {
			t.Errorf("%d told: lost %v, want %d", step.told, a.telemetry.lost, step.want)
		}
	}
}

func TestDurationsOutliveTheAgent(t *testing.T) {
	w := newWorld()
	pod := w.pod(cgroupfs.Burstable, "uid-1")
	names := map[string]*snapshot.ContainerIdentity{}
	for _, name := range []string{"web", "gone", "idle"} {
		names["id-"+name] = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: name, Known: true}
	}
	a, k := w.startWithDurations(t, names)
	web, gone, unnamed := w.container(pod, "id-web", app), w.container(pod, "id-gone", app), w.container(pod, "id-x", app)
	w.container(pod, "id-idle", app)
	k.throttle(web, 10, 20)
	k.throttle(gone, 30)
	k.throttle(unnamed, 40, 50)
	a.step()
	w.remove(gone)
	a.step()
	before := len(w.held.state)
	a.step()
	if len(w.held.state) != before || before == 0 {
		t.Errorf("a state of %d bytes, then %d", before, len(w.held.state))
	}

	a, k = w.startWithDurations(t, nil) // the names are not known yet
	k.throttle(web, 5)
	s := a.step()
	for name, want := range map[string]string{"web": "3 of 35 ns", "gone": "1 of 30 ns", "id-x": "2 of 90 ns", "idle": "0 of 0 ns"} {
		if got := throttled(find(t, s, name)); got != want {
			t.Errorf("%s after a restart of the agent: %s, want %s", name, got, want)
		}
	}
	a, _ = w.startWithDurations(t, nil)
	if got := throttled(find(t, a.step(), "web")); got != "3 of 35 ns" {
		t.Errorf("after one more: %s", got)
	}
}

func TestLoadHeldRefuses(t *testing.T) {
	for name, state := range map[string]string{
		"nothing": "", "another version": "\x02\xf9\x01", "cut short": "\x01\xf9\x01\x00", "a long name": "\x01\xf9\x01\x00\x01\xff\x7f",
	} {
		if held, err := LoadHeld([]byte(state)); !errors.Is(err, ErrHeldState) || held != nil {
			t.Errorf("%s: %v, %v", name, held, err)
		}
	}
	if held, err := LoadHeld([]byte("\x01\x07whatever that is")); held != nil || err != nil {
		t.Errorf("other cells: %v, %v", held, err)
	}
}

func FuzzLoadHeld(f *testing.F) {
	f.Add([]byte("\x01\xf9\x01\x01\x01\x04shop\x05web-0\x03web\x05\x01\x02\x30\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\xf9\x01"))
	f.Fuzz(func(t *testing.T, state []byte) {
		if held, err := LoadHeld(state); err != nil && held != nil {
			t.Errorf("%v beside %v", held, err)
		}
	})
}
