// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	// oversized is how many times the hint a request must be to be named.
	oversized = 1.5
	// oversizedAfter is how long a container must have been seen for that.
	oversizedAfter = 24 * time.Hour
)

// overProvisioned names requests that are far above what is needed: nobody else
// may have what they reserve.
func (a *advice) overProvisioned(h *snapshot.Hint) {
	seen := a.series.Demand().Observed
	if set := a.facts.CPURequestCores; isSet(set) && h.CPURequestCores.Known && seen >= oversizedAfter && set.V > oversized*h.CPURequestCores.V {
		a.say(snapshot.ReasonCPUOversized, snapshot.ResourceCPU,
			fmt.Sprintf("The CPU request of %s is %.1f x the hint: %s are reserved and not used.",
				cores(set.V), set.V/h.CPURequestCores.V, cores(set.V-h.CPURequestCores.V)),
			evidence("request_cores", set.V))
	}
	if set := a.facts.MemoryRequestBytes; isSet(set) && h.MemoryRequestBytes.Known && a.peaks.Days >= 1 && set.V > oversized*h.MemoryRequestBytes.V {
		a.say(snapshot.ReasonMemoryOversize, snapshot.ResourceMemory,
			fmt.Sprintf("The memory request of %s is %.1f x the hint: %s are reserved and not used.",
				bytes(set.V), set.V/h.MemoryRequestBytes.V, bytes(set.V-h.MemoryRequestBytes.V)),
			evidence("request_bytes", set.V))
	}
}
