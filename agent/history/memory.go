// SPDX-License-Identifier: Apache-2.0

package history

import "time"

const (
	// quarter is how long one slot of the memory peaks is.
	quarter  = 6 * time.Hour
	quarters = 56 // 14 days
	// hours is how far back the hourly low and high marks go.
	hours = 24
)

// span is the lowest and the highest working set of one slot of time.
type span struct {
	slot      int64 // its number since 1970; 0 while empty
	low, high float64
}

func (s *span) note(slot int64, bytes float64) {
	if s.slot != slot {
		*s = span{slot: slot, low: bytes, high: bytes}
		return
	}
	s.low, s.high = min(s.low, bytes), max(s.high, bytes)
}

// peaks are the marks of the working set: 14 days by quarters of a day, and a
// day by hours.
type peaks struct {
	quarters [quarters]span
	hours    [hours]span
	newest   time.Time
	// restarted is when a container of this series started last: what grows
	// was emptied then.
	restarted time.Time
}

func slotOf(at time.Time, length time.Duration) int64 { return at.Unix() / int64(length/time.Second) }

func (p *peaks) add(at time.Time, bytes float64) {
	p.newest = at
	slot := slotOf(at, quarter)
	p.quarters[slot%quarters].note(slot, bytes)
	slot = slotOf(at, time.Hour)
	p.hours[slot%hours].note(slot, bytes)
}

// shift moves the marks by whole slots; the rest is less than a slot.
func (p *peaks) shift(by time.Duration) {
	p.newest = p.newest.Add(by)
	if !p.restarted.IsZero() {
		p.restarted = p.restarted.Add(by)
	}
	shiftSpans(p.quarters[:], int64(by/quarter))
	shiftSpans(p.hours[:], int64(by/time.Hour))
}

func shiftSpans(spans []span, by int64) {
	moved := make([]span, len(spans))
	for _, s := range spans {
		if s.slot+by > 0 && s.slot != 0 {
			s.slot += by
			moved[s.slot%int64(len(spans))] = s
		}
	}
	copy(spans, moved)
}

// Restarted notes that a container of this series was started.
func (s *Series) Restarted(at time.Time) {
	if at.After(s.memory.restarted) {
		s.memory.restarted = at
	}
}

// Memory is what is known of a container's working set, in bytes.
type Memory struct {
	// Peak is the highest of the last 14 days, by quarters of a day.
	Peak float64
	// Days is how many days with samples there are, to a quarter of a day, at
	// least a quarter.
	Days float64
	// Overshoot is by what share the second-worst day passed everything before
	// it: what the next day may well do again.
	Overshoot float64
	// Samples says whether there was any.
	Samples bool
}

// Memory returns what is known of the working set in the 14 days before now.
func (s *Series) Memory(now time.Time) Memory {
	var m Memory
	last := slotOf(now, quarter)
	highest := 0.0
	var worst, second float64
	day, seen := 0.0, 0 // of the day that is being gone through
	close := func() {
		if day > 0 && highest > 0 {
			if over := day/highest - 1; over > worst {
				worst, second = over, worst
			} else if over > second {
				second = over
			}
		}
		highest, day = max(highest, day), 0
	}
	for slot := last - quarters + 1; slot <= last; slot++ {
		q := &s.memory.quarters[((slot%quarters)+quarters)%quarters]
		if q.slot == slot && slot > 0 {
			day, m.Samples = max(day, q.high), true
			seen++
		}
		if (last-slot)%4 == 0 {
			close()
		}
	}
	m.Peak, m.Overshoot, m.Days = highest, second, float64(seen)/4
	return m
}

// Growth is how a working set moved over the hours of the last day since the
// container started, lowest values of whole hours only: caches and garbage make
// the highest ones jump.
type Growth struct {
	// Hours is how many hours there are in a row up to now, Rises in how many
	// of them the lowest value was above the hour before.
	Hours, Rises int
	// From and To are the lowest values of the first and of the last hour.
	From, To float64
}

// Growth returns how the working set moved.
func (s *Series) Growth(now time.Time) Growth {
	var g Growth
	last := slotOf(now, time.Hour) - 1 // the present hour is not over
	started := slotOf(s.memory.restarted.Add(time.Hour), time.Hour)
	var later span
	for slot := last; slot > last-hours+1 && slot > 0; slot-- {
		hour := s.memory.hours[slot%hours]
		if hour.slot != slot || !s.memory.restarted.IsZero() && slot < started {
			break
		}
		g.Hours++
		g.From = hour.low
		switch {
		case later.slot == 0:
			g.To = hour.low
		case hour.low < later.low:
			g.Rises++
		}
		later = hour
	}
	return g
}
