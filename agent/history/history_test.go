// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2027, 1, 11, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func web(container string) Key {
	return Key{Namespace: "shop", WorkloadKind: "Deployment", Workload: "web", Container: container}
}

// fill adds a sample every five minutes.
func fill(s *Series, from time.Time, length time.Duration, cores, bytes float64) time.Time {
	const step = 5 * time.Minute
	for at := from.Add(step); !at.After(from.Add(length)); at = at.Add(step) {
		s.Add(Sample{At: at, Elapsed: step, CPUCores: Known(cores), WorkingSetBytes: Known(bytes)})
	}
	return from.Add(length)
}

func TestDemandFollowsUse(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	at := fill(s, epoch, 7*day, 0.2, 1e8)
	d := s.Demand()
	if d.Slow < 0.2 || d.Slow > 0.21 || d.AboveBase != 0 || d.Observed != 7*day {
		t.Errorf("after a steady week: %+v", d)
	}
	fill(s, at, 2*time.Hour, 0.8, 1e8)
	d = s.Demand()
	if d.AboveBase < 0.6 || d.Fast < 0.8 || d.Fast > 0.83 || d.Highest != 0.8 {
		t.Errorf("two hours after a rise: %+v", d)
	}
}

func TestPeaksByDays(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	at := epoch
	for _, peak := range []float64{100, 130, 120, 160, 150, 140} { // over by 30 % and by 23 %
		at = fill(s, at, day, 0.3, peak)
	}
	got := s.Peaks(at.Add(-time.Minute))
	if got.Peak != 160 || math.Abs(got.Overshoot-(160.0/130-1)) > 1e-9 || got.Days < 6 || got.Days > 6.25 || !got.Samples {
		t.Errorf("got %+v", got)
	}
	if got := s.Peaks(at.Add(13 * day)); got.Peak != 140 {
		t.Errorf("the peak of 16 days ago still counts: %+v", got)
	}
	if got := s.Peaks(at.Add(30 * day)); got.Samples || got.Peak != 0 {
		t.Errorf("a month later: %+v", got)
	}
}

func TestGrowthSinceRestart(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	for hour := range 10 {
		fill(s, epoch.Add(time.Duration(hour)*time.Hour-5*time.Minute), time.Hour, 0.1, float64(100+10*hour))
	}
	got := s.Growth(epoch.Add(10 * time.Hour))
	if diff := cmp.Diff(Growth{Hours: 10, Rises: 9, From: 100, Middle: 140, To: 190}, got); diff != "" {
		t.Error(diff)
	}
	s.Restarted(epoch.Add(6*time.Hour + time.Minute))
	if got := s.Growth(epoch.Add(10 * time.Hour)); got.Hours != 3 {
		t.Errorf("after a restart: %+v", got)
	}
}

func TestStrainMustLast(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	add := func(second int) {
		s.Add(Sample{
			At: epoch.Add(time.Duration(second) * time.Second), Elapsed: time.Second, MemoryPressure: Known(0.2),
			WorkingSetBytes: Known(95), MemoryLimitBytes: Known(100),
		})
	}
	for second := 1; second < 120; second++ {
		add(second)
	}
	if got := s.Squeeze(StrainPressure); !got.At.IsZero() {
		t.Errorf("after 119 s: %+v", got)
	}
	add(200) // a pause
	add(201)
	if got := s.Squeeze(StrainPressure); !got.At.IsZero() {
		t.Errorf("after a pause: %+v", got)
	}
	for second := 202; second <= 325; second++ {
		add(second)
	}
	if got := s.Squeeze(StrainPressure); !got.At.Equal(epoch.Add(325*time.Second)) || got.Amount != 0.2 {
		t.Errorf("after two minutes: %+v", got)
	}
}

func TestOOMs(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	s.AddOOM(OOM{At: epoch, Scope: OOMContainer, LimitBytes: 100})
	s.AddOOM(OOM{At: epoch.Add(time.Minute), Scope: OOMContainer, LimitBytes: 80}) // lower since: the higher one stands
	s.AddOOM(OOM{At: epoch.Add(time.Hour), Scope: OOMElsewhere, LimitBytes: 500})
	got := s.OOMs(epoch.Add(2 * time.Hour))
	want := OOMs{
		Newest: OOM{At: epoch.Add(time.Minute), Scope: OOMContainer, LimitBytes: 100},
		Count:  2, Recent: 2, Elsewhere: 1, ElsewhereAt: epoch.Add(time.Hour),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s.AddOOM(OOM{At: epoch.Add(3 * day), Scope: OOMPod, LimitBytes: 60})
	if got := s.OOMs(epoch.Add(3 * day)); got.Newest.LimitBytes != 60 || got.Recent != 1 {
		t.Errorf("days later: %+v", got)
	}
}

func TestWindows(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	minute := 0
	add := func(quota, used, need float64, throttled int) {
		minute++
		end := epoch.Add(time.Duration(minute) * time.Minute)
		s.AddWindow(Window{Start: end.Add(-time.Minute), End: end, QuotaCores: quota, UsedCores: used, NeedCores: need, Periods: 600, Throttled: throttled})
	}
	now := epoch.Add(time.Hour)
	add(0.5, 0.4, 4.2, 500)
	if got := s.Throttling(now); got.Decisive.NeedCores != 4.2 || got.FloorCores != 0 {
		t.Errorf("one window: %+v", got)
	}
	add(4.2, 0.2, 0.3, 0) // a quiet minute knows nothing of that load
	if got := s.Throttling(now); got.Decisive.NeedCores != 4.2 {
		t.Errorf("after a quiet window: %+v", got)
	}
	add(4.2, 0.9, 1.1, 2)
	if got := s.Throttling(now); got.Decisive.NeedCores != 1.1 || got.FloorCores != 0.5 || got.Windows != 3 {
		t.Errorf("after a window that knows: %+v", got)
	}
	for range 40 {
		add(4.2, 0.2, 0.2, 0)
	}
	if got := s.Throttling(now); got.Decisive.NeedCores != 1.1 || got.Windows > maxWindows {
		t.Errorf("after many windows: %+v", got)
	}
	if got := s.Throttling(now.Add(15 * day)); got.Windows != 0 || got.Decisive.Periods != 0 {
		t.Errorf("two weeks later: %+v", got)
	}
}

func TestAbovePublished(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	s.Publish(Published{At: epoch, CPURequestCores: Known(0.3)})
	at := fill(s, epoch, 30*time.Minute, 0.2, 1)
	at = fill(s, at, 30*time.Minute, 0.4, 1)
	share, covered := s.AbovePublished(at)
	if math.Abs(share-0.5) > 0.1 || covered < 55*time.Minute || covered > time.Hour {
		t.Errorf("share %f of %s", share, covered)
	}
	if share, covered := s.AbovePublished(at.Add(2 * time.Hour)); covered != 0 || share != 0 {
		t.Errorf("two hours later: share %f of %s", share, covered)
	}
}

// A broken counter or clock says nothing, and does no harm.
func TestNonsenseIsLeftOut(t *testing.T) {
	s := NewStore(Config{}).Series(web("app"), epoch)
	for _, sample := range []Sample{
		{},
		{At: epoch, Elapsed: time.Second, CPUCores: Known(math.NaN()), WorkingSetBytes: Known(math.Inf(1))},
		{At: epoch, Elapsed: time.Second, CPUCores: Known(-1), WorkingSetBytes: Known(-1)},
		{At: epoch, Elapsed: time.Second, CPUCores: Known(1e9)},
		{At: epoch, Elapsed: -time.Second, CPUCores: Known(1)},
		{At: time.Unix(-1e9, 0), WorkingSetBytes: Known(1e9)},
	} {
		s.Add(sample)
	}
	if d := s.Demand(); d.Observed != 0 {
		t.Errorf("demand: %+v", d)
	}
	if p := s.Peaks(epoch); p.Samples {
		t.Errorf("peaks: %+v", p)
	}
}

func TestStoreIsBounded(t *testing.T) {
	store := NewStore(Config{MaxSeries: 2})
	a, b := store.Series(web("a"), epoch), store.Series(web("b"), epoch.Add(time.Minute))
	if a == nil || b == nil {
		t.Fatal("no room for two")
	}
	if store.Series(web("c"), epoch.Add(2*time.Minute)) != nil {
		t.Error("drove out what was seen a moment ago")
	}
	if store.Series(web("c"), epoch.Add(2*time.Hour)) == nil || store.Find(web("a")) != nil || store.Find(web("b")) == nil {
		t.Error("did not drive out the one that was silent for longest")
	}
	store.Observe(epoch.Add(30 * day))
	if got := store.Stats(); got.Series != 0 || got.Refused != 2 {
		t.Errorf("a month later: %+v", got)
	}
}

// filled returns a store with something of everything in it.
func filled() *Store {
	store := NewStore(Config{})
	for i, container := range []string{"app", "proxy"} {
		s := store.Series(web(container), epoch)
		at := fill(s, epoch, 3*day, 0.2*float64(i+1), 1e8)
		at = fill(s, at, 3*time.Hour, 0.5, 2e8)
		s.Restarted(at)
		s.AddOOM(OOM{At: at, Scope: OOMPod, LimitBytes: 3e8, UsedBytes: 2e8})
		s.AddOOM(OOM{At: at, Scope: OOMElsewhere})
		s.AddWindow(Window{Start: at, End: at.Add(time.Minute), QuotaCores: 0.5, NeedCores: 0.9, Periods: 600, Throttled: 100, Exact: true})
		s.pressure.last[StrainHigh] = Squeeze{At: at, WorkingSetBytes: 1e8, Amount: 3}
		s.Publish(Published{At: at, Policy: "burstable", CPURequestCores: Known(0.3), Provisional: true})
		store.Observe(at)
	}
	return store
}

func TestStateSurvives(t *testing.T) {
	store := filled()
	state, err := store.AppendState(nil)
	if err != nil {
		t.Fatal(err)
	}
	again := NewStore(Config{})
	if err := again.Load(state); err != nil {
		t.Fatal(err)
	}
	for s := range store.All() {
		r := again.Find(s.Key())
		if r == nil {
			t.Fatalf("%v is lost", s.Key())
		}
		now := s.Last()
		for name, pair := range map[string][2]any{
			"demand": {s.Demand(), r.Demand()}, "peaks": {s.Peaks(now), r.Peaks(now)}, "growth": {s.Growth(now), r.Growth(now)},
			"OOMs": {s.OOMs(now), r.OOMs(now)}, "throttling": {s.Throttling(now), r.Throttling(now)},
			"squeeze": {s.Squeeze(StrainHigh), r.Squeeze(StrainHigh)}, "published": {s.Published(), r.Published()},
			"times": {[]time.Time{s.First(), s.Last()}, []time.Time{r.First(), r.Last()}},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%v: %s: %s", s.Key(), name, diff)
			}
		}
	}
	second, err := again.AppendState(nil)
	if err != nil || len(second) < len(state)*9/10 {
		t.Errorf("saved again: %d bytes of %d, %v", len(second), len(state), err)
	}
}

// The mark of what was told survives; a state of before there was one stands for
// all that was until then.
func TestToldSurvives(t *testing.T) {
	store := filled()
	told := Told{ID: 7, At: epoch.Add(time.Hour)}
	store.Tell(told)
	state, err := store.AppendState(nil)
	if err != nil {
		t.Fatal(err)
	}
	unmarked := regexp.MustCompile(`"told":{[^}]*},`).ReplaceAll(state, nil)
	for _, test := range []struct {
		state []byte
		want  Told
	}{{state, told}, {unmarked, Told{At: store.last}}} {
		loaded := NewStore(Config{})
		if err := loaded.Load(test.state); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, loaded.Told()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestStateThatCannotBeRead(t *testing.T) {
	good, err := filled().AppendState(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string][]byte{
		"empty":                 {},
		"cut in half":           good[:len(good)/2],
		"newer":                 bytes.Replace(good, []byte(`{"format":1`), []byte(`{"format":2`), 1),
		"a bucket that is none": []byte(strings.Replace(string(good), `"Buckets":[[`, `"Buckets":[[99999,1],[`, 1)),
		"a negative peak":       bytes.Replace(good, []byte(`"Quarters":[[`), []byte(`"Quarters":[[1,-1,2],[`), 1),
		"no slot":               bytes.Replace(good, []byte(`"Hours":[[`), []byte(`"Hours":[[1.5,1],[`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			store := NewStore(Config{})
			if err := store.Load(state); err == nil {
				t.Error("no error")
			}
			if store.Stats().Series != 0 {
				t.Error("the store holds a part of it")
			}
		})
	}
	if err := NewStore(Config{MaxSeries: 1}).Load(good); err == nil {
		t.Error("took in more than the bound")
	}
}

// FuzzLoad holds that no state makes the store panic, now or when it is used.
func FuzzLoad(f *testing.F) {
	good, err := filled().AppendState(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"format":1,"series":[{"Key":{},"cpu":{"Slow":{"Total":1,"Buckets":[[3,1]]}},"Windows":[{"Periods":1}]}]}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		store := NewStore(Config{})
		if store.Load(state) != nil {
			return
		}
		now := epoch.Add(30 * day)
		store.Observe(now)
		store.Observe(now.Add(-40 * day))
		for s := range store.All() {
			fill(s, now, time.Hour, 0.2, 1e8)
			s.Demand()
			s.RequestCost(Long, 0.2)
			s.Peaks(now)
			s.Growth(now)
			s.Throttling(now)
			s.AbovePublished(now)
		}
		if _, err := store.AppendState(nil); err != nil {
			t.Errorf("what was loaded cannot be saved: %v", err)
		}
	})
}
