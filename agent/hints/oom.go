// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	oomFactor     = 1.5
	oomBytes      = 100 << 20
	oomMostPeaks  = 4
	pressureRaise = 1.15
)

// memoryOOM raises the need after a kill at the container's own or its pod's
// limit. It stands beside the peaks: what a raised limit lets a container use
// must be seen, not assumed.
func (a *advice) memoryOOM() {
	ooms := a.series.OOMs(a.at)
	if oom := ooms.Newest; !oom.At.IsZero() && a.at.Sub(oom.At) < history.OOMKept && oom.LimitBytes > 0 {
		a.raiseAfter(oom, ooms)
	}
	if ooms.Elsewhere > 0 && a.at.Sub(ooms.ElsewhereAt) < history.OOMKept {
		a.say(snapshot.ReasonMemoryOtherOOM, snapshot.ResourceMemory,
			fmt.Sprintf("It was OOM killed %s ago by a limit above its pod (the node or a QoS class ran out): a higher limit here would not prevent that, so it is not raised.",
				duration(a.at.Sub(ooms.ElsewhereAt))))
	}
}

func (a *advice) raiseAfter(oom history.OOM, ooms history.OOMs) {
	floor := max(oom.LimitBytes*oomFactor, oom.LimitBytes+oomBytes)
	capped := ""
	if most := oomMostPeaks * a.memory.Peak; a.memory.Peak > 0 && floor > most && most > oom.LimitBytes {
		floor, capped = most, fmt.Sprintf(", but at most 4 x the highest working set of %s", bytes(a.memory.Peak))
	}
	code, what := snapshot.ReasonMemoryOOM, "its own limit"
	if oom.Scope == history.OOMPod {
		code, what = snapshot.ReasonMemoryPodOOM, "its pod's limit (the sum of its containers'), of which this container used most over its share,"
	}
	times := ""
	if ooms.Recent > 1 {
		times = fmt.Sprintf(" (%d times in 24 h)", ooms.Recent)
	}
	a.say(code, snapshot.ResourceMemory,
		fmt.Sprintf("OOM killed %s ago at %s%s with a limit of %s here: for 24 h the limit is at least the larger of 1.5 x that and 100Mi more%s: %s.",
			duration(a.at.Sub(oom.At)), what, times, bytes(oom.LimitBytes), capped, bytes(floor)),
		evidence("oom_limit_bytes", oom.LimitBytes), evidence("floor_bytes", floor), evidence("oom_kills", float64(ooms.Recent)))
	a.raise(floor)
	if a.memoryConfidence == 0 {
		a.memoryConfidence = 0.3
	}
	a.urgentMemory = a.urgentMemory || !a.published.At.After(oom.At)
}

// raise makes the need at least so many bytes, and the limit too.
func (a *advice) raise(floor float64) {
	a.need = max(a.need, floor)
	a.limitFloor = max(a.limitFloor, floor)
}

// memoryStrain raises the need where memory was scarce though nothing was
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
		floor := from * pressureRaise
		code, text := strainText(kind, s, from, floor)
		a.say(code, snapshot.ResourceMemory, fmt.Sprintf("%s ago %s", duration(a.at.Sub(s.At)), text),
			evidence("floor_bytes", floor), evidence("amount", s.Amount))
		a.raise(floor)
		a.urgentMemory = a.urgentMemory || !a.published.At.After(s.At) && a.published.MemoryLimitBytes.V < floor
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
