// SPDX-License-Identifier: Apache-2.0

package history

import "time"

// Published is the hint that users were last shown. Amounts are as computed,
// before rounding.
type Published struct {
	// At is when it was published; zero before the first.
	At time.Time
	// CPUChanged and MemoryChanged are when these amounts last became others.
	CPUChanged, MemoryChanged time.Time
	// Policy is what it was made for: another one replaces it at once.
	Policy string
	// Provisional says that the CPU limit is a guess that the next window may
	// correct: a limit throttled the work, so that the demand was not to be seen.
	Provisional bool
	// The amounts, in cores and bytes; unknown where the hint had none.
	CPURequestCores, CPULimitCores       Number
	MemoryRequestBytes, MemoryLimitBytes Number
}

const (
	aboveSlot  = 5 * time.Minute
	aboveSlots = 12 // an hour
)

// publication is the published hint and how use compared with it in the last
// hour.
type publication struct {
	hint  Published
	slots [aboveSlots]aboveMark
}

// aboveMark is how long use was above the published request in five minutes.
type aboveMark struct {
	slot         int32
	above, total float32 // seconds
}

func (p *publication) note(at time.Time, elapsed time.Duration, cores float64) {
	if !p.hint.CPURequestCores.Known {
		return
	}
	slot := slotOf(at, aboveSlot)
	if slot <= 0 {
		return
	}
	s := &p.slots[slot%aboveSlots]
	if s.slot != slot {
		s.slot, s.above, s.total = slot, 0, 0
	}
	s.total += float32(elapsed.Seconds())
	if cores > p.hint.CPURequestCores.V {
		s.above += float32(elapsed.Seconds())
	}
}

// Published returns the hint that was last published.
func (s *Series) Published() Published { return s.published.hint }

// Publish notes that a hint was published.
func (s *Series) Publish(hint Published) {
	if hint.CPURequestCores != s.published.hint.CPURequestCores {
		s.published.slots = [aboveSlots]aboveMark{}
	}
	hint.At, hint.CPUChanged, hint.MemoryChanged = wall(hint.At), wall(hint.CPUChanged), wall(hint.MemoryChanged)
	s.published.hint = hint
}

// AbovePublished returns the share of the last hour's samples in which use was
// above the published CPU request, and how much time those samples cover: a
// whole hour of one pod, more with several.
func (s *Series) AbovePublished(now time.Time) (share float64, covered time.Duration) {
	newest := slotOf(now, aboveSlot)
	var above, total float64
	for _, slot := range s.published.slots {
		if slot.total > 0 && newest-slot.slot < aboveSlots && slot.slot <= newest {
			above += float64(slot.above)
			total += float64(slot.total)
		}
	}
	if total == 0 {
		return 0, 0
	}
	return above / total, time.Duration(total * float64(time.Second))
}

func (p *publication) shift(move func(*time.Time)) {
	move(&p.hint.At)
	move(&p.hint.CPUChanged)
	move(&p.hint.MemoryChanged)
	// What was above within the hour is not worth moving.
	p.slots = [aboveSlots]aboveMark{}
}
