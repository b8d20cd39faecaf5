// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"time"
)

const (
	// quarter is how long one slot of the memory peaks is.
	quarter  = 6 * time.Hour
	quarters = 56 // 14 days
	// hours is how far back the hourly low and high marks go.
	hours = 24
)

// quarterMarks are the highest values of a quarter of a day.
type quarterMarks struct {
	slot  int32   // its number since 1970; 0 while empty
	cores float32 // of any one sample
	bytes float64 // of the working set; 0 without a sample of it
}

// hourMark is the lowest working set of an hour.
type hourMark struct {
	slot int32
	low  float32 // bytes
}

// peaks are the marks of use: 14 days by quarters of a day, and a day by hours.
type peaks struct {
	quarters [quarters]quarterMarks
	hours    [hours]hourMark
	// restarted is when a container of this series started last: what grows
	// was emptied then.
	restarted time.Time
}

func slotOf(at time.Time, length time.Duration) int32 {
	return int32(at.Unix() / int64(length/time.Second))
}

// quarterAt returns the marks of the time, nil for one before 1970 or before
// the two weeks that are kept.
func (p *peaks) quarterAt(at time.Time) *quarterMarks {
	slot := slotOf(at, quarter)
	if slot <= 0 {
		return nil
	}
	q := &p.quarters[slot%quarters]
	if q.slot < slot {
		*q = quarterMarks{slot: slot}
	}
	if q.slot != slot {
		return nil
	}
	return q
}

func (p *peaks) addMemory(at time.Time, bytes float64) {
	if q := p.quarterAt(at); q != nil {
		q.bytes = max(q.bytes, bytes)
	}
	slot := slotOf(at, time.Hour)
	if slot <= 0 {
		return
	}
	if h := &p.hours[slot%hours]; h.slot < slot {
		*h = hourMark{slot: slot, low: float32(bytes)}
	} else if h.slot == slot {
		h.low = min(h.low, float32(bytes))
	}
}

func (p *peaks) addCPU(at time.Time, cores float64) {
	if q := p.quarterAt(at); q != nil {
		q.cores = max(q.cores, float32(cores))
	}
}

// shift moves the marks by whole slots, rather too far back than too little: no
// mark is to lie in the future, where it is not seen.
func (p *peaks) shift(by time.Duration) {
	if !p.restarted.IsZero() {
		p.restarted = p.restarted.Add(by)
	}
	var moved peaks
	for _, q := range &p.quarters {
		if slot := q.slot + wholeSlots(by, quarter); q.slot != 0 && slot > 0 {
			q.slot = slot
			moved.quarters[slot%quarters] = q
		}
	}
	for _, h := range p.hours {
		if slot := h.slot + wholeSlots(by, time.Hour); h.slot != 0 && slot > 0 {
			h.slot = slot
			moved.hours[slot%hours] = h
		}
	}
	p.quarters, p.hours = moved.quarters, moved.hours
}

// wholeSlots returns how many slots a time is, rounded towards the past.
func wholeSlots(by, length time.Duration) int32 {
	return int32(math.Floor(float64(by) / float64(length)))
}

// Restarted notes that a container of this series was started.
func (s *Series) Restarted(at time.Time) {
	if at = wall(at); at.After(s.peaks.restarted) {
		s.peaks.restarted = at
	}
}

// Peaks is what is known of a container's highest use, in bytes and cores.
type Peaks struct {
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
	// HighestCores is the highest CPU use of any one sample, RecentCores that of
	// the newest two days with samples, to a quarter of a day.
	HighestCores, RecentCores float64
}

// Peaks returns what is known of the highest use in the 14 days before now.
func (s *Series) Peaks(now time.Time) Peaks {
	var m Peaks
	last := slotOf(now, quarter)
	highest := 0.0
	var worst, second float64
	day, seen := 0.0, 0 // of the day that is being gone through
	endDay := func() {
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
		if slot <= 0 {
			continue
		}
		if q := &s.peaks.quarters[slot%quarters]; q.slot == slot {
			m.HighestCores = max(m.HighestCores, float64(q.cores))
			if q.bytes > 0 {
				day, m.Samples = max(day, q.bytes), true
				seen++
			}
		}
		if (last-slot)%4 == 0 {
			endDay()
		}
	}
	m.Peak, m.Overshoot, m.Days = highest, second, float64(seen)/4
	m.RecentCores = s.peaks.recentCores(last)
	return m
}

// recentQuarters are two days: of a shorter silence work of each day would not be
// seen.
const recentQuarters = 8

// recentCores looks at quarters with samples only: what nobody looked at was not
// idle.
func (p *peaks) recentCores(last int32) float64 {
	highest, left := float32(0), recentQuarters
	for slot := last; slot > max(0, last-quarters) && left > 0; slot-- {
		if q := &p.quarters[slot%quarters]; q.slot == slot {
			highest = max(highest, q.cores)
			left--
		}
	}
	return float64(highest)
}

// Growth is how a working set moved over the hours of the last day since the
// container started, lowest values of whole hours only: caches and garbage make
// the highest ones jump.
type Growth struct {
	// Hours is how many hours there are in a row up to now, Rises in how many
	// of them the lowest value was above the hour before.
	Hours, Rises int
	// From, Middle and To are the lowest values of the first hour, of the one
	// halfway and of the last, in bytes.
	From, Middle, To float64
}

// Growth returns how the working set moved.
func (s *Series) Growth(now time.Time) Growth {
	last := slotOf(now, time.Hour) - 1 // the present hour is not over
	begun := int32(1)
	if !s.peaks.restarted.IsZero() {
		begun = slotOf(s.peaks.restarted, time.Hour) + 1 // nor was the first a whole one
	}
	var lows []float64 // newest first
	for slot := last; slot > last-hours+1 && slot >= begun; slot-- {
		hour := s.peaks.hours[slot%hours]
		if hour.slot != slot {
			break
		}
		lows = append(lows, float64(hour.low))
	}
	if len(lows) == 0 {
		return Growth{}
	}
	g := Growth{Hours: len(lows), From: lows[len(lows)-1], Middle: lows[len(lows)/2], To: lows[0]}
	for i := range len(lows) - 1 {
		if lows[i] > lows[i+1] {
			g.Rises++
		}
	}
	return g
}
