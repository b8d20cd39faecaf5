// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"math"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// The shares of the memory limit that runtimes are to keep within.
const (
	nodeShare    = 0.75
	jvmPercent   = 75
	goShare      = 0.90
	redisShare   = 0.80
	mongoShare   = 0.50
	mongoLeastGB = 0.25 // mongod refuses less
)

const mebi, gibi = 1 << 20, 1 << 30

// runtimeSettings says what to change inside of the container with its limits:
// a runtime that does not know its new limit either wastes it or dies by it.
func (a *advice) runtimeSettings(h *snapshot.Hint) {
	limit := h.MemoryLimitBytes
	if a.facts.Runtime.Kind == "" || !limit.Known || a.facts.MemoryLimitBytes == limit {
		return
	}
	set := "its command line sets nothing"
	if a.facts.Runtime.Setting != "" {
		set = "its command line has " + shorten(a.facts.Runtime.Setting, 60)
	}
	say := func(code snapshot.ReasonCode, advice string) {
		a.say(code, snapshot.ResourceMemory, fmt.Sprintf("With a memory limit of %s, %s (%s).", bytes(limit.V), advice, set))
	}
	switch a.facts.Runtime.Kind {
	case snapshot.RuntimeNodeJS:
		say(snapshot.ReasonNodeJS, fmt.Sprintf("start Node.js with --max-old-space-size=%.0f, 75%% of it in MiB", math.Floor(limit.V*nodeShare/mebi)))
	case snapshot.RuntimeJVM:
		say(snapshot.ReasonJVM, fmt.Sprintf("start the JVM with -XX:MaxRAMPercentage=%d, which is a heap of %s; what is no heap (classes, threads, code, buffers) must fit in the rest",
			jvmPercent, bytes(limit.V*jvmPercent/100)))
	case snapshot.RuntimeGo:
		maxProcs := ""
		if h.CPULimitCores.Known {
			maxProcs = fmt.Sprintf(" and GOMAXPROCS=%.0f, the CPU limit in whole cores", math.Ceil(h.CPULimitCores.V))
		}
		say(snapshot.ReasonGo, fmt.Sprintf("set GOMEMLIMIT=%.0fMiB, 90%% of it%s", math.Floor(limit.V*goShare/mebi), maxProcs))
	case snapshot.RuntimeRedis:
		say(snapshot.ReasonRedis, fmt.Sprintf("set Redis' maxmemory to %.0fmb, 80%% of it: the rest is for copies on write and buffers", math.Floor(limit.V*redisShare/mebi)))
	case snapshot.RuntimeMongoDB:
		cache := max(mongoLeastGB, math.Floor(limit.V*mongoShare/gibi*100)/100)
		say(snapshot.ReasonMongoDB, fmt.Sprintf("start mongod with --wiredTigerCacheSizeGB %.2f, half of it", cache))
	}
}
