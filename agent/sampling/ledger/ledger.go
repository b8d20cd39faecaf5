// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Key is what makes an exported series: its labels without those that are
// facts only. Two cgroups with the same key feed the same series.
type Key struct {
	Level cgroupfs.Level
	QoS   cgroupfs.QoS
	// Namespace, Pod and Container are empty above their level.
	Namespace, Pod, Container string
	// Named says that the names are Kubernetes' own. Without it Pod is the UID
	// of the path and Container the first digits of the id.
	Named bool
}

// Series is one exported series and its counters.
type Series struct {
	key    Key
	number uint64
	// base is what ended incarnations left; total is base and the living.
	base, total cgroupfs.Reading
	live        []*Incarnation
	starts      uint64
	ended       time.Time
}

// Key returns the key of s.
func (s *Series) Key() Key { return s.key }

// Number identifies s as long as its labels stay the same.
func (s *Series) Number() uint64 { return s.number }

// Total returns the counters of s: counter fields only, which never fall.
func (s *Series) Total() *cgroupfs.Reading { return &s.total }

// Starts counts the incarnations that s ever had.
func (s *Series) Starts() uint64 { return s.starts }

// Ended is when the last incarnation ended; zero while one lives.
func (s *Series) Ended() time.Time { return s.ended }

// Newest returns the living incarnation with the highest cgroup id, which is
// the youngest, or nil.
func (s *Series) Newest() *Incarnation {
	var newest *Incarnation
	for _, inc := range s.live {
		if newest == nil || inc.cgroup > newest.cgroup {
			newest = inc
		}
	}
	return newest
}

// Incarnation is one cgroup's contribution to a series.
type Incarnation struct {
	cgroup uint64
	series *Series
	last   cgroupfs.Reading
	// seen is false for one that was restored and not opened since.
	seen bool
}

// Cgroup returns the kernel's id of the cgroup.
func (i *Incarnation) Cgroup() uint64 { return i.cgroup }

// Last returns what the cgroup's counters were when they were recorded last.
func (i *Incarnation) Last() *cgroupfs.Reading { return &i.last }

// Series returns the series that i feeds now.
func (i *Incarnation) Series() *Series { return i.series }

// place is what a living incarnation is found by. kubepods feeds two series,
// its own and the Guaranteed class's, so that the id alone is not enough.
type place struct {
	cgroup uint64
	level  cgroupfs.Level
	qos    cgroupfs.QoS
}

func placeOf(key Key, cgroup uint64) place {
	p := place{cgroup: cgroup, level: key.Level}
	if key.Level == cgroupfs.LevelQoS {
		p.qos = key.QoS
	}
	return p
}

// Book holds all series. It is for one goroutine.
type Book struct {
	series     map[Key]*Series
	live       map[place]*Incarnation
	order      []*Series
	number     uint64
	fell       uint64
	lostEnded  uint64
	maxEnded   int
	endedCount int
}

// NewBook returns an empty book that keeps at most maxEnded ended series.
func NewBook(maxEnded int) *Book {
	return &Book{series: map[Key]*Series{}, live: map[place]*Incarnation{}, maxEnded: maxEnded}
}

// Series returns every series, the ended ones included, in an order that stays
// the same while none comes or goes. The slice is the book's own and valid
// until the next call that changes the book.
func (b *Book) Series() []*Series { return b.order }

// Find returns the series of a key, or nil.
func (b *Book) Find(key Key) *Series { return b.series[key] }

// Open returns the incarnation for a living cgroup. One that is known already,
// also from a state that was loaded, is found again under whatever key it has;
// it moves to key when key is named and differs. Else it is a new start.
func (b *Book) Open(key Key, cgroup uint64) *Incarnation {
	at := placeOf(key, cgroup)
	if inc := b.live[at]; inc != nil {
		inc.seen = true
		if key.Named && inc.series.key != key {
			b.move(inc, key)
		}
		return inc
	}
	s := b.get(key)
	inc := &Incarnation{cgroup: cgroup, series: s, seen: true}
	b.attach(inc, s)
	s.starts++
	b.live[at] = inc
	return inc
}

// Rename moves a living incarnation, its counts and its start to the series of
// another key.
func (b *Book) Rename(inc *Incarnation, key Key) {
	if inc.series.key != key {
		b.move(inc, key)
	}
}

func (b *Book) move(inc *Incarnation, key Key) {
	from, to := inc.series, b.get(key)
	from.live = slices.DeleteFunc(from.live, func(i *Incarnation) bool { return i == inc })
	inc.series = to
	b.attach(inc, to)
	if len(from.live) == 0 && !from.key.Named {
		// An unnamed series had this one cgroup only: it goes on under its
		// new name, and with it what its falls were made up with.
		for _, f := range counters {
			if v, ok := from.base.Get(f); ok {
				to.base.Add(f, v)
			}
		}
		to.starts += from.starts
		b.remove(from)
	} else {
		to.starts++
		from.starts--
		from.retotal()
		if len(from.live) == 0 {
			b.remove(from)
		}
	}
	to.retotal()
}

func (b *Book) attach(inc *Incarnation, s *Series) {
	s.live = append(s.live, inc)
	if !s.ended.IsZero() {
		s.ended = time.Time{}
		b.endedCount--
	}
}

func (b *Book) get(key Key) *Series {
	if s := b.series[key]; s != nil {
		return s
	}
	b.number++
	s := &Series{key: key, number: b.number}
	b.series[key] = s
	b.order = append(b.order, s)
	return s
}

func (b *Book) remove(s *Series) {
	delete(b.series, s.key)
	b.order = slices.DeleteFunc(b.order, func(o *Series) bool { return o == s })
}

// Close ends an incarnation: its last counts stay in its series.
func (b *Book) Close(inc *Incarnation, now time.Time) {
	s := inc.series
	delete(b.live, placeOf(s.key, inc.cgroup))
	s.live = slices.DeleteFunc(s.live, func(i *Incarnation) bool { return i == inc })
	for _, f := range counters {
		if v, ok := inc.last.Get(f); ok {
			s.base.Add(f, v)
		}
	}
	s.retotal()
	if len(s.live) == 0 {
		s.ended = now
		b.endedCount++
	}
}

// Adopt hands all that an ended series without names ever counted to the series
// of its name, and returns that. It returns nil if the series is no such one or
// was dropped.
func (b *Book) Adopt(from *Series, key Key) *Series {
	if from.key.Named || !key.Named || len(from.live) > 0 || b.series[from.key] != from {
		return nil
	}
	to := b.get(key)
	for _, f := range counters {
		if v, ok := from.base.Get(f); ok {
			to.base.Add(f, v)
		}
	}
	to.starts += from.starts
	b.remove(from)
	switch {
	case len(to.live) > 0:
		b.endedCount--
	case to.ended.IsZero(): // made for this
		to.ended = from.ended
	default:
		b.endedCount--
		if from.ended.After(to.ended) {
			to.ended = from.ended
		}
	}
	to.retotal()
	return to
}

// Knows says whether a living cgroup feeds a series of this level, be it only
// in a state that was loaded.
func (b *Book) Knows(level cgroupfs.Level, cgroup uint64) bool {
	return b.live[place{cgroup: cgroup, level: level}] != nil
}

// CloseUnseen ends what a loaded state said was alive, was not opened since
// and is not alive: it ended while no agent looked. It calls ended for each
// before, unless that is nil, and returns how many those were.
func (b *Book) CloseUnseen(now time.Time, alive func(cgroup uint64) bool, ended func(*Incarnation)) int {
	n := 0
	for _, inc := range b.live {
		if !inc.seen && !alive(inc.cgroup) {
			if ended != nil {
				ended(inc)
			}
			b.Close(inc, now)
			n++
		}
	}
	return n
}

// Expire drops pods' and containers' series that ended before the given time,
// and the longest ended ones beyond the bound, and calls dropped for each. The
// classes and kubepods have no end.
func (b *Book) Expire(before time.Time, dropped func(*Series)) {
	if b.endedCount == 0 {
		return
	}
	if over := b.endedCount - b.maxEnded; over > 0 {
		before = b.laterOfOldest(over, before)
	}
	b.order = slices.DeleteFunc(b.order, func(s *Series) bool {
		if s.ended.IsZero() || s.key.Level < cgroupfs.LevelPod || s.ended.After(before) {
			return false
		}
		delete(b.series, s.key)
		b.endedCount--
		dropped(s)
		return true
	})
}

// laterOfOldest returns the end of the n-th longest ended series, if that is
// later than before, and counts those which go before their time.
func (b *Book) laterOfOldest(n int, before time.Time) time.Time {
	var ends []time.Time
	for _, s := range b.order {
		if !s.ended.IsZero() {
			ends = append(ends, s.ended)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	cut := ends[n-1]
	if !cut.After(before) {
		return before
	}
	for _, end := range ends {
		if end.After(before) && !end.After(cut) {
			b.lostEnded++
		}
	}
	return cut
}

// Stats are the book's own counts.
type Stats struct {
	Ended     int    // series without a living incarnation
	LostEnded uint64 // ended series dropped before their time, for the bound
	Fell      uint64 // counters that fell within one cgroup
}

// Stats returns the book's own counts.
func (b *Book) Stats() Stats {
	return Stats{Ended: b.endedCount, LostEnded: b.lostEnded, Fell: b.fell}
}

// Counters returns the fields that a ledger carries. The slice is shared: do
// not change it.
func Counters() []cgroupfs.Field { return counters }

var counters = func() []cgroupfs.Field {
	var fields []cgroupfs.Field
	for f := range cgroupfs.NumFields {
		if f.Info().Counter {
			fields = append(fields, f)
		}
	}
	return fields
}()
