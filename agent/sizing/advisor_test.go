// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mi = 1 << 20

// box is a made-up container: what it uses a second, and what is set for it.
type box struct {
	mu       sync.Mutex
	identity *snapshot.ContainerIdentity
	series   uint64
	reading  cgroupfs.Reading
	total    cgroupfs.Reading
	starts   uint64
	ended    time.Time
	// What it does every 100 ms.
	micros, periods, throttled, stall uint64
}

func newBox(series uint64, pod, name string) *box {
	b := &box{series: series, starts: 1, micros: 20_000, identity: &snapshot.ContainerIdentity{
		Namespace: "shop", Pod: pod, Name: name, PodUID: "uid-" + pod, Known: true, Type: snapshot.AppContainer,
		WorkloadKind: "Deployment", Workload: "web",
		CPURequestMillis:   snapshot.Amount{N: 250, Known: true},
		MemoryRequestBytes: snapshot.Amount{N: 256 * mi, Known: true},
	}}
	b.reading.Set(cgroupfs.MemoryCurrent, 100*mi)
	b.reading.Set(cgroupfs.MemoryInactiveFile, 0)
	b.reading.Set(cgroupfs.MemoryMax, 512*mi)
	b.reading.Set(cgroupfs.PIDsCurrent, 3)
	b.limit(50_000)
	b.pass(0)
	return b
}

func (b *box) limit(quota uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading.Set(cgroupfs.CPUQuota, quota)
	b.reading.Set(cgroupfs.CPUPeriod, 100_000)
}

// pass lets so many tenths of a second pass.
func (b *box) pass(tenths uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total.Add(cgroupfs.CPUUsage, b.micros*tenths)
	b.total.Add(cgroupfs.CPUPeriods, b.periods*tenths)
	b.total.Add(cgroupfs.CPUThrottledPeriods, b.throttled*tenths)
	b.total.Add(cgroupfs.CPUThrottled, b.stall*tenths)
}

func (b *box) container() snapshot.Container {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := snapshot.Container{Series: b.series, Identity: b.identity, QoS: cgroupfs.Burstable, CgroupID: b.series, Starts: b.starts, Ended: b.ended}
	c.Current, c.Total = b.reading, b.total
	return c
}

// Read implements Stat: cpu.stat as it is now.
func (b *box) Read(into *cgroupfs.Reading) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended.IsZero() {
		return cgroupfs.ErrGone
	}
	*into = b.total
	return nil
}

func (b *box) Close() {}

type boxes []*box

func (all boxes) Open(c *cgroupfs.Cgroup) (Stat, error) {
	for _, b := range all {
		if b.series == c.ID {
			return b, nil
		}
	}
	return nil, cgroupfs.ErrGone
}

type memoryJournal struct {
	mu    sync.Mutex
	state []byte
	err   error
	syncs int
}

func (j *memoryJournal) Write(fill func([]byte) []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.state = fill(nil)
	}
	return j.err
}

func (j *memoryJournal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.syncs++
	return nil
}

// world lets time pass for an advisor and its containers.
type world struct {
	*Advisor
	boxes   boxes
	now     time.Time
	change  func(*snapshot.Snapshot)
	records []*snapshot.OOMRecord // newest first
}

func newWorld(journal Journal, store *history.Store, all ...*box) *world {
	return &world{boxes: all, now: time.Date(2027, 1, 11, 12, 0, 0, 0, time.UTC), Advisor: New(Config{
		Settings: hints.Settings{}, Store: store, Stats: boxes(all), Journal: journal, Logger: slog.New(slog.DiscardHandler),
	})}
}

// second lets one pass and returns what is published then.
func (w *world) second() *snapshot.Snapshot {
	for _, b := range w.boxes {
		b.pass(10)
	}
	w.now = w.now.Add(time.Second)
	return w.fill()
}

func (w *world) fill() *snapshot.Snapshot {
	snap := &snapshot.Snapshot{Taken: w.now, Node: snapshot.Node{CPUs: snapshot.Amount{N: 4, Known: true}, MemoryBytes: snapshot.Amount{N: 8192 * mi, Known: true}}}
	for _, b := range w.boxes {
		snap.Containers = append(snap.Containers, b.container())
	}
	if w.change != nil {
		w.change(snap)
	}
	w.Fill(snap)
	return snap
}

func (w *world) seconds(n int) *snapshot.Snapshot {
	for range n - 1 {
		w.second()
	}
	return w.second()
}

func has(h *snapshot.Hint, code snapshot.ReasonCode) bool {
	for _, r := range h.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

func TestContainersGetHints(t *testing.T) {
	app, other := newBox(1, "web-0", "app"), newBox(2, "web-1", "app")
	other.micros = 40_000 // of the same workload: one history
	unnamed := newBox(3, "uid", "x")
	unnamed.identity.Known = false
	starter := newBox(4, "web-0", "migrate")
	starter.identity.Type = snapshot.InitContainer
	w := newWorld(nil, history.NewStore(history.Config{}), app, other, unnamed, starter)
	snap := w.seconds(5)
	if h := snap.Containers[0].Hint; h == nil || h.CPURequestCores.Known || !has(h, snapshot.ReasonFewCPUSamples) {
		t.Errorf("after 5 s: %+v", h)
	}
	snap = w.seconds(70)
	for i := range 2 {
		h := snap.Containers[i].Hint
		if h == nil || h.CPURequestCores.V < 0.4 || h.CPURequestCores.V > 0.43 || h.MemoryRequestBytes.V != 144*mi {
			t.Errorf("container %d: %+v", i, h)
		}
	}
	if snap.Containers[2].Hint != nil || snap.Containers[3].Hint != nil {
		t.Error("a container without names, or one that only starts the others, has a hint")
	}
	if snap.Hints.Histories != 1 || snap.Hints.Evaluations == 0 {
		t.Errorf("%+v", snap.Hints)
	}
	before := w.stats.Evaluations
	w.seconds(30)
	if made := w.stats.Evaluations - before; made > 4 {
		t.Errorf("%d hints were made anew in 30 s", made)
	}
}

// A counter that falls, a clock that jumps and an agent that stood still make
// no use of nothing.
func TestCountersAndClocksThatJump(t *testing.T) {
	app := newBox(1, "web-0", "app")
	store := history.NewStore(history.Config{})
	w := newWorld(nil, store, app)
	w.seconds(120)
	highest := func() float64 { return store.Find(keyOf(app.identity)).Demand().Highest }
	if got := highest(); got < 0.19 || got > 0.21 {
		t.Fatalf("used %f cores", got)
	}
	app.total.Set(cgroupfs.CPUUsage, 5) // reset
	w.second()
	w.now = w.now.Add(-24 * time.Hour) // the clock goes back
	w.seconds(10)
	w.now = w.now.Add(48 * time.Hour) // and forth
	w.seconds(10)
	app.pass(1e6) // nobody looked for long
	w.now = w.now.Add(time.Hour)
	w.seconds(10)
	if got := highest(); got > 0.25 {
		t.Errorf("used %f cores after jumps", got)
	}
}

// Nor does a clock that is set while the agent runs, whose times have a monotonic
// reading: everything that is known moves along.
func TestClockThatIsSetBack(t *testing.T) {
	app := newBox(1, "web-0", "app")
	store := history.NewStore(history.Config{})
	w := newWorld(nil, store, app)
	w.now = time.Now()
	w.seconds(120)
	before := store.Find(keyOf(app.identity)).Demand().Observed
	*(*uint64)(unsafe.Pointer(&w.now)) -= 24 * 60 * 60 << 30 // the wall clock's seconds
	snap := w.seconds(10)
	found := store.Find(keyOf(app.identity))
	if snap.Hints.ClockSteps != 1 || found.Last().After(w.now.Round(0)) {
		t.Errorf("%d clock steps, the newest sample is of %s at %s", snap.Hints.ClockSteps, found.Last(), w.now)
	}
	if got := found.Demand().Observed - before; got != 10*time.Second {
		t.Errorf("%s were seen in 10 s", got)
	}
}

func TestRestartGivesTheSameHints(t *testing.T) {
	app := newBox(1, "web-0", "app")
	journal := &memoryJournal{}
	w := newWorld(journal, history.NewStore(history.Config{}), app)
	before := w.seconds(600).Containers[0].Hint
	w.Close()
	if journal.syncs == 0 || len(journal.state) == 0 {
		t.Fatal("nothing was saved")
	}
	store := history.NewStore(history.Config{})
	if err := store.Load(journal.state); err != nil {
		t.Fatal(err)
	}
	again := newWorld(journal, store, app)
	again.now = w.now
	after := again.second().Containers[0].Hint
	if after.CPURequestCores != before.CPURequestCores || after.CPULimitCores != before.CPULimitCores ||
		after.MemoryRequestBytes != before.MemoryRequestBytes || after.MemoryLimitBytes != before.MemoryLimitBytes || !after.Published.Equal(before.Published) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	journal.err = errors.New("the disk is full")
	again.Close() // says so and goes on
}

// A throttled container is polled for a minute, and its limit found from that.
func TestThrottledContainersAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newBox(1, "web-0", "app")
		app.micros, app.periods, app.throttled, app.stall = 50_000, 1, 1, 50_000 // one thread, at its limit of half a core
		w := newWorld(nil, history.NewStore(history.Config{}), app)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		var snap *snapshot.Snapshot
		time.Sleep(30 * time.Millisecond) // polls fall between the periods' ends
		for range 75 {
			for range 10 {
				time.Sleep(100 * time.Millisecond)
				app.pass(1)
			}
			w.now = time.Now()
			snap = w.fill()
			synctest.Wait()
		}
		h := snap.Containers[0].Hint
		if !has(h, snapshot.ReasonCPUThrottled) || h.CPULimitCores.V < 1 || h.CPULimitCores.V > 1.35 || !h.Urgent {
			t.Errorf("a single busy thread at half a core: %s", sentences(h))
		}
		if snap.Hints.Windows != 1 {
			t.Errorf("%d windows in 75 s", snap.Hints.Windows)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A window whose container ends comes to nothing and makes room for others.
func TestWindowOfAContainerThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newBox(1, "web-0", "app")
		w := newWorld(nil, history.NewStore(history.Config{}), app)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		step := func() {
			time.Sleep(time.Second)
			w.now = time.Now()
			w.fill()
			synctest.Wait()
		}
		step()
		step()
		if w.round.watching != 1 {
			t.Errorf("%d watched, want the calm one", w.round.watching)
		}
		app.mu.Lock()
		app.ended = time.Now()
		app.mu.Unlock()
		step()
		step()
		if w.round.watching != 0 || w.round.idle || w.stats.Windows != 0 {
			t.Errorf("%+v, %d windows", w.round, w.stats.Windows)
		}
		cancel()
		<-done
	})
}

func TestWatchesAreBounded(t *testing.T) {
	var all []*box
	for i := range 3 * maxWatches {
		b := newBox(uint64(i+1), "web-0", "app")
		b.periods, b.throttled = 1, 1
		all = append(all, b)
	}
	w := newWorld(nil, history.NewStore(history.Config{}), all...)
	w.seconds(3)
	if w.round.watching != maxWatches || w.stats.WindowsRefused == 0 {
		t.Errorf("%d watched, %d refused", w.round.watching, w.stats.WindowsRefused)
	}
}

func sentences(h *snapshot.Hint) string {
	var b strings.Builder
	for _, r := range h.Reasons {
		b.WriteString(r.Text + "\n")
	}
	return b.String()
}
