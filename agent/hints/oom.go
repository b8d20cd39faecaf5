// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	oomFactor = 1.5
	oomBytes  = 100 << 20
	// oomFirst bounds the first raise: 100 MiB are several times what a small
	// container needs. One that is killed again soon gets them.
	oomFirst     = 1.65
	oomMostPeaks = 4
	oomLeast     = 1.15
)

// memoryOOM raises the limit after a kill at the container's own or its pod's
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
	if first := oom.LimitBytes * oomFirst; ooms.Recent <= 1 && floor > first {
		floor, capped = first, ", after a first kill at most 1.65 x"
	}
	peak := a.peaks.Peak
	if oom.Scope == history.OOMContainer {
		// It had all of its limit when it was killed, however little the sample
		// before saw: what fills it within a second is in no sample.
		peak = max(peak, oom.LimitBytes)
	}
	// A peak that is far below the limit it was killed at was not seen whole:
	// some of the raise stays.
	if most := max(oomMostPeaks*peak, oom.LimitBytes*oomLeast); peak > 0 && floor > most {
		floor, capped = most, capped+fmt.Sprintf(", but at most the larger of 4 x the most that it was seen with, %s, and 1.15 x that limit", bytes(peak))
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
	floor = min(floor, a.mostBytes()) // no more can be done
	a.suffers = a.suffers || isSet(a.facts.MemoryLimitBytes) && a.facts.MemoryLimitBytes.V < floor
	if a.memoryConfidence == 0 {
		a.memoryConfidence = 0.3
	}
	a.urgentMemory = a.urgentMemory || !a.published.MemoryChanged.After(oom.At) && a.published.MemoryLimitBytes.V < floor
}

// raise makes the limit at least so many bytes.
func (a *advice) raise(floor float64) { a.limitFloor = max(a.limitFloor, floor) }
