// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// stateFormat is the format of a saved store. A store of another format is not
// read: a history begins anew rather than wrong.
const stateFormat = 1

type savedStore struct {
	Format int           `json:"format"`
	Saved  time.Time     `json:"saved"`
	Told   *Told         `json:"told,omitempty"`
	Series []savedSeries `json:"series"`
}

type savedSeries struct {
	Key       Key       `json:"key"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	CPU       savedCPU  `json:"cpu"`
	Quarters  [][3]float64
	Hours     [][2]float64
	Restarted time.Time
	Squeezes  [NumStrains]Squeeze
	OOM       savedOOM
	Windows   []Window
	Published Published
}

type savedCPU struct {
	// Long, Trial and Days are missing in what older versions saved: they begin anew.
	Slow, Long, Fast   savedHistogram
	Trial              savedTrial
	Days               [][3]float64
	Base               float64
	Refreshed, Decayed time.Time
	Above, Total       float64
	Observed           time.Duration
	Highest            float64
}

type savedTrial struct {
	Since, Taken time.Time
	Guesses      [NumSpans]float64
	Costs        [NumSpans]float64
	Used         float64
}

type savedHistogram struct {
	Reference time.Time
	Total     float64
	// Buckets are pairs of a bucket's number and its weight.
	Buckets [][2]uint32
}

type savedOOM struct {
	Newest        OOM
	Count, Others uint64
	Other         time.Time
	Recent        []time.Time
}

// AppendState appends what is to outlive the process to buf.
func (s *Store) AppendState(buf []byte) ([]byte, error) {
	saved := savedStore{Format: stateFormat, Saved: s.last, Told: &s.told}
	for series := range s.All() {
		one, err := series.save()
		if err != nil {
			return buf, fmt.Errorf("save the history of %v: %w", series.key, err)
		}
		saved.Series = append(saved.Series, one)
	}
	encoded, err := json.Marshal(&saved)
	if err != nil {
		return buf, fmt.Errorf("save the histories: %w", err)
	}
	return append(buf, encoded...), nil
}

// Load fills an empty store with what AppendState wrote. On an error the store
// is as it was.
func (s *Store) Load(state []byte) error {
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(state, &format); err != nil {
		return fmt.Errorf("read the saved histories: %w", err)
	}
	if format.Format != stateFormat {
		return fmt.Errorf("the saved histories have format %d, this version reads %d", format.Format, stateFormat)
	}
	var saved savedStore
	if err := json.Unmarshal(state, &saved); err != nil {
		return fmt.Errorf("read the saved histories: %w", err)
	}
	if len(saved.Series) > s.cfg.MaxSeries {
		return fmt.Errorf("%d saved histories are more than the bound of %d", len(saved.Series), s.cfg.MaxSeries)
	}
	loaded := make(map[Key]*Series, len(saved.Series))
	for i := range saved.Series {
		one, err := saved.Series[i].restore()
		if err != nil {
			return fmt.Errorf("read the saved history of %v: %w", saved.Series[i].Key, err)
		}
		loaded[one.key] = one
	}
	s.series, s.last, s.told = loaded, saved.Saved, Told{At: saved.Saved}
	if saved.Told != nil {
		s.told = *saved.Told
	}
	return nil
}

func (s *Series) save() (savedSeries, error) {
	saved := savedSeries{
		Key: s.key, First: s.first, Last: s.last, Restarted: s.peaks.restarted,
		Squeezes: s.pressure.last, Windows: s.windows.kept, Published: s.published.hint,
		OOM: savedOOM{Newest: s.ooms.newest, Count: s.ooms.count, Others: s.ooms.others, Other: s.ooms.other, Recent: s.ooms.recent[:]},
		CPU: savedCPU{
			Base: s.cpu.base, Refreshed: s.cpu.refreshed, Decayed: s.cpu.decayed,
			Above: s.cpu.above, Total: s.cpu.total, Observed: s.cpu.observed, Highest: s.cpu.highest,
		},
	}
	saved.CPU.Trial = savedTrial{
		Since: s.cpu.trial.since, Taken: s.cpu.trial.taken, Guesses: s.cpu.trial.guesses, Costs: s.cpu.trial.costs, Used: s.cpu.trial.used,
	}
	for _, d := range s.cpu.days {
		if d.slot != 0 {
			saved.CPU.Days = append(saved.CPU.Days, [3]float64{float64(d.slot), d.coreSeconds, d.seconds})
		}
	}
	var err, err2, err3 error
	saved.CPU.Slow, err = saveHistogram(s.cpu.slow)
	saved.CPU.Fast, err2 = saveHistogram(s.cpu.fast)
	saved.CPU.Long, err3 = saveHistogram(s.cpu.long)
	for _, q := range &s.peaks.quarters {
		if q.slot != 0 {
			saved.Quarters = append(saved.Quarters, [3]float64{float64(q.slot), float64(q.cores), q.bytes})
		}
	}
	for _, h := range s.peaks.hours {
		if h.slot != 0 {
			saved.Hours = append(saved.Hours, [2]float64{float64(h.slot), float64(h.low)})
		}
	}
	return saved, errors.Join(err, err2, err3)
}

func (saved *savedSeries) restore() (*Series, error) {
	s := newSeries(saved.Key)
	s.first, s.last = saved.First, saved.Last
	s.peaks.restarted, s.pressure.last, s.published.hint = saved.Restarted, saved.Squeezes, saved.Published
	s.ooms = ooms{newest: saved.OOM.Newest, count: saved.OOM.Count, others: saved.OOM.Others, other: saved.OOM.Other}
	copy(s.ooms.recent[:], saved.OOM.Recent)
	if len(saved.Windows) > maxWindows {
		return nil, fmt.Errorf("%d windows are more than the bound of %d", len(saved.Windows), maxWindows)
	}
	s.windows.kept = saved.Windows
	for _, q := range saved.Quarters {
		slot, ok := slotOfSaved(q[0])
		if !ok || !usableAll(q[1:]...) {
			return nil, fmt.Errorf("a quarter of a day with the marks %v", q)
		}
		s.peaks.quarters[slot%quarters] = quarterMarks{slot: slot, cores: float32(q[1]), bytes: q[2]}
	}
	for _, h := range saved.Hours {
		slot, ok := slotOfSaved(h[0])
		if !ok || !usableAll(h[1]) {
			return nil, fmt.Errorf("an hour with the marks %v", h)
		}
		s.peaks.hours[slot%hours] = hourMark{slot: slot, low: float32(h[1])}
	}
	if !s.amountsUsable() {
		return nil, errors.New("an amount that is none")
	}
	return s, saved.CPU.restore(&s.cpu)
}

func slotOfSaved(v float64) (int32, bool) {
	return int32(v), v >= 1 && v <= math.MaxInt32 && v == math.Trunc(v)
}

func usableAll(values ...float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return !Known(v).usable() })
}

// amountsUsable says whether every restored amount is one.
func (s *Series) amountsUsable() bool {
	p, o := &s.published.hint, &s.ooms.newest
	ok := usableAll(p.CPURequestCores.V, p.CPULimitCores.V, p.MemoryRequestBytes.V, p.MemoryLimitBytes.V, o.LimitBytes, o.UsedBytes)
	for _, q := range s.pressure.last {
		ok = ok && usableAll(q.LimitBytes, q.WorkingSetBytes, q.Amount)
	}
	for _, w := range s.windows.kept {
		ok = ok && usableAll(w.QuotaCores, w.UsedCores, w.Slowdown, w.NeedCores, w.BasisCores, w.Concurrency, w.BurstSeconds) &&
			w.Periods > 0 && w.Throttled >= 0 && w.Threads >= 0
	}
	return ok
}

func (saved *savedCPU) restore(d *demand) error {
	if !usableAll(saved.Base, saved.Above, saved.Total, saved.Highest, float64(saved.Observed)) {
		return errors.New("a use of CPU that is none")
	}
	d.base, d.refreshed, d.decayed, d.newest = saved.Base, saved.Refreshed, saved.Decayed, saved.Decayed
	d.above, d.total, d.observed, d.highest = saved.Above, saved.Total, saved.Observed, saved.Highest
	if err := saved.Trial.restore(&d.trial); err != nil {
		return err
	}
	for _, day := range saved.Days {
		slot, ok := slotOfSaved(day[0])
		if !ok || !usableAll(day[1:]...) {
			return fmt.Errorf("a day with the use %v", day)
		}
		d.days[slot%keptDays] = dayUse{slot: slot, coreSeconds: day[1], seconds: day[2]}
	}
	for _, h := range []struct {
		saved    *savedHistogram
		into     util.Histogram
		halfLife time.Duration
	}{{&saved.Slow, d.slow, SlowHalfLife}, {&saved.Long, d.long, LongHalfLife}, {&saved.Fast, d.fast, FastHalfLife}} {
		// What lies in the future would outweigh all that comes.
		if h.saved.Reference.After(saved.Decayed.Add(2 * max(SlowHalfLife, h.halfLife))) {
			return errors.New("a distribution of the future")
		}
		if err := h.saved.restore(h.into); err != nil {
			return err
		}
	}
	return nil
}

func (saved *savedTrial) restore(t *trial) error {
	if !usableAll(saved.Guesses[:]...) || !usableAll(saved.Costs[:]...) || !usableAll(saved.Used) {
		return errors.New("a trial with an amount that is none")
	}
	*t = trial{since: saved.Since, taken: saved.Taken, guesses: saved.Guesses, costs: saved.Costs, used: saved.Used}
	return nil
}

func saveHistogram(h util.Histogram) (savedHistogram, error) {
	if h.IsEmpty() {
		return savedHistogram{}, nil
	}
	checkpoint, err := h.SaveToChekpoint()
	if err != nil {
		return savedHistogram{}, err
	}
	saved := savedHistogram{Reference: checkpoint.ReferenceTimestamp.Time, Total: checkpoint.TotalWeight}
	for bucket, weight := range checkpoint.BucketWeights {
		saved.Buckets = append(saved.Buckets, [2]uint32{uint32(bucket), weight})
	}
	slices.SortFunc(saved.Buckets, func(a, b [2]uint32) int { return int(a[0]) - int(b[0]) })
	return saved, nil
}

func (saved *savedHistogram) restore(h util.Histogram) error {
	if len(saved.Buckets) == 0 {
		return nil
	}
	if !usableAll(saved.Total) {
		return errors.New("a distribution with a weight that is none")
	}
	// An empty histogram's saved form, filled: the types are the library's.
	checkpoint, err := h.SaveToChekpoint()
	if err != nil {
		return err
	}
	checkpoint.ReferenceTimestamp.Time, checkpoint.TotalWeight = saved.Reference, saved.Total
	for _, b := range saved.Buckets {
		checkpoint.BucketWeights[int(b[0])] = b[1]
	}
	return h.LoadFromCheckpoint(checkpoint)
}
