// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// strainRaise is by how much a limit is raised that was too tight without
// killing anything.
const strainRaise = 1.15

// memoryStrain raises the limit where memory was scarce though nothing was
// killed.
func (a *advice) memoryStrain() {
	for kind := range history.NumStrains {
		s := a.series.Squeeze(kind)
		if s.At.IsZero() || a.at.Sub(s.At) >= history.OOMKept {
			continue
		}
		from := s.WorkingSetBytes
		if kind != history.StrainHigh && s.LimitBytes > 0 {
			from = s.LimitBytes
		}
		floor := from * strainRaise
		code, text := strainText(kind, s, from, floor)
		a.say(code, snapshot.ResourceMemory, fmt.Sprintf("%s ago %s", duration(a.at.Sub(s.At)), text),
			evidence("floor_bytes", floor), evidence("amount", s.Amount))
		a.raise(floor)
		a.urgentMemory = a.urgentMemory || a.published.MemoryLimitBytes.V < min(floor, a.mostBytes())
	}
}

func strainText(kind history.Strain, s history.Squeeze, from, floor float64) (snapshot.ReasonCode, string) {
	raise := fmt.Sprintf("at least %s x 1.15 = %s.", bytes(from), bytes(floor))
	switch kind {
	case history.StrainPressure:
		return snapshot.ReasonMemoryPressure, fmt.Sprintf("its tasks stalled on memory for %s of the time, two minutes running, with %s of its limit of %s in use: %s",
			percent(s.Amount), bytes(s.WorkingSetBytes), bytes(s.LimitBytes), raise)
	case history.StrainHigh:
		return snapshot.ReasonMemoryHigh, fmt.Sprintf("its tasks were held at memory.high, two minutes running, with %s in use: %s", bytes(s.WorkingSetBytes), raise)
	}
	return snapshot.ReasonMemoryRefaults, fmt.Sprintf("it read %.0f pages of files a second again soon after their eviction, two minutes running, with %s of its limit of %s in use: %s",
		s.Amount, bytes(s.WorkingSetBytes), bytes(s.LimitBytes), raise)
}
