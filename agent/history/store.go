// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Key says whose history it is. It is the workload's, not the pod's: it goes on
// over restarts of containers, pods and the agent, and is shared by a
// workload's pods on the same node.
type Key struct {
	Namespace string
	// WorkloadKind and Workload name the controller; a pod without one is its
	// own workload ("Pod" and its name).
	WorkloadKind string
	Workload     string
	Container    string
}

func compareKeys(a, b Key) int {
	return cmp.Or(
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.WorkloadKind, b.WorkloadKind),
		cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Container, b.Container),
	)
}

// Config bounds a Store. Zero values take the defaults.
type Config struct {
	// MaxSeries is how many series are kept, 2000 by default: several times
	// what a full node has, with what ended on it lately.
	MaxSeries int
	// Keep is how long a series without samples is kept, 14 days by default:
	// as long as its memory peaks count.
	Keep time.Duration
}

// Store holds the series of one node. It is for one goroutine.
type Store struct {
	cfg    Config
	series map[Key]*Series
	last   time.Time // the newest time that Observe was told
	told   Told
	stats  Stats
}

// Stats is what a Store holds and where its bound bit.
type Stats struct {
	Series int
	// Refused counts the times that a series was not made, or an older one
	// dropped before its time, because of MaxSeries.
	Refused uint64
	// ClockSteps counts the times that the clock went back so far that every
	// series was moved along with it.
	ClockSteps uint64
}

// NewStore returns an empty store.
func NewStore(cfg Config) *Store {
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 2000)
	cfg.Keep = cmp.Or(cfg.Keep, 14*24*time.Hour)
	return &Store{cfg: cfg, series: make(map[Key]*Series)}
}

// Series returns the series of key, which it makes if need be; the one that was
// silent for longest goes when there is no room. What is silent for less than
// an hour is not driven out: then it returns nil.
func (s *Store) Series(key Key, now time.Time) *Series {
	if found := s.series[key]; found != nil {
		return found
	}
	if len(s.series) >= s.cfg.MaxSeries {
		s.stats.Refused++
		if !s.dropOldest(now.Add(-time.Hour)) {
			return nil
		}
	}
	made := newSeries(key)
	made.last = wall(now)
	s.series[key] = made
	return made
}

// Find returns the series of key, or nil.
func (s *Store) Find(key Key) *Series { return s.series[key] }

func (s *Store) dropOldest(silentSince time.Time) bool {
	var oldest *Series
	for _, series := range s.series {
		if oldest == nil || series.last.Before(oldest.last) ||
			series.last.Equal(oldest.last) && compareKeys(series.key, oldest.key) < 0 {
			oldest = series
		}
	}
	if oldest == nil || !oldest.last.Before(silentSince) {
		return false
	}
	delete(s.series, oldest.key)
	return true
}

// All yields every series in the order of their keys.
func (s *Store) All() iter.Seq[*Series] {
	keys := make([]Key, 0, len(s.series))
	for key := range s.series {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	return func(yield func(*Series) bool) {
		for _, key := range keys {
			if !yield(s.series[key]) {
				return
			}
		}
	}
}

// clockStep is how far back a clock must go to count as set anew. Less is
// waited out: samples of that time merely weigh a little less.
const clockStep = 2 * time.Minute

// Observe tells the store what time it is, once a sweep, before samples of that
// sweep. Where the clock went back, everything that is kept moves along, so
// that it does not lie in the future; a step forward makes everything older, as
// a long pause does.
func (s *Store) Observe(now time.Time) {
	now = wall(now)
	if back := s.last.Sub(now); !s.last.IsZero() && back > clockStep {
		s.stats.ClockSteps++
		for _, series := range s.series {
			series.shift(-back)
		}
		if !s.told.At.IsZero() {
			s.told.At = s.told.At.Add(-back)
		}
	}
	s.last = now
	for key, series := range s.series {
		if now.Sub(series.last) > s.cfg.Keep {
			delete(s.series, key)
		}
	}
}

// wall takes the monotonic reading off a time, which knows of no clock that was
// set: by it no time is ever before an earlier one.
func wall(at time.Time) time.Time { return at.Round(0) }

// Told marks the newest OOM record that the histories were told of.
type Told struct {
	ID uint64    // 0 for none
	At time.Time // when the newest of those kills was
}

// Told returns the mark that Tell set, also before a restart. Of a state without
// one it has the time at which that was saved.
func (s *Store) Told() Told { return s.told }

// Tell notes up to which OOM record the histories were told.
func (s *Store) Tell(newest Told) { s.told = Told{ID: newest.ID, At: wall(newest.At)} }

// Stats returns what the store holds.
func (s *Store) Stats() Stats {
	stats := s.stats
	stats.Series = len(s.series)
	return stats
}
