// SPDX-License-Identifier: Apache-2.0

package snapshot

import "time"

// Hint is what one container's requests and limits should be, and why. It is
// advice: nothing is changed in the cluster.
type Hint struct {
	// The amounts, in cores and bytes. One that is not known was not hinted
	// at: the reasons say why.
	CPURequestCores, CPULimitCores Quantity
	MemoryRequestBytes             Quantity
	MemoryLimitBytes               Quantity
	// NoCPULimit says that the container should have no CPU limit, which is
	// not the same as no hint for it.
	NoCPULimit bool
	// CPUBurstSeconds is the burst allowance (cpu.max.burst) that would cure
	// the throttling without a higher limit; unknown where none would.
	CPUBurstSeconds Quantity
	// Policy is the policy that the hint follows.
	Policy string
	// Confidence is how sure the hint is, 0 to 1.
	Confidence float64
	// Urgent says that the container suffers until the hint is followed.
	Urgent bool
	// Published is when the amounts were published; they are held for a day
	// unless something urgent happens. Zero without any amount.
	Published time.Time
	// Reasons say why, those of CPU first.
	Reasons []Reason
}

// Hints is what the making of hints holds, and where its own bounds bit.
type Hints struct {
	Histories      int    // series of use that are kept
	Refused        uint64 // times that a series was not kept, to stay within the bound
	ClockSteps     uint64 // times that the clock went back and the histories with it
	Evaluations    uint64 // hints that were made anew
	Windows        uint64 // minutes of cpu.stat polls that were taken in
	WindowsRefused uint64 // those not begun, to stay within the bound
}

// Quantity is a number that may be unknown, which is not 0.
type Quantity struct {
	V     float64
	Known bool
}

// Reason is one reason of a hint.
type Reason struct {
	Code     ReasonCode
	Resource Resource // ResourceCPU or ResourceMemory
	// Text is a sentence with the numbers that were used.
	Text string
	// Evidence are these numbers.
	Evidence []Evidence
}

// Evidence is one number that a reason was made of. Its name carries its unit.
type Evidence struct {
	Name  string
	Value float64
}

// ReasonCode is the code of a reason, of a closed list.
type ReasonCode string

// The reasons.
const (
	ReasonCPUDemand      ReasonCode = "cpu_demand"     // the request is the 95th percentile of use
	ReasonCPULevelRose   ReasonCode = "cpu_level_rose" // use stays above that: newer use counts more
	ReasonCPUSpan        ReasonCode = "cpu_span"       // looking back further, or less far, was cheaper
	ReasonCPUUrgent      ReasonCode = "cpu_urgent"     // use has left the published request behind
	ReasonCPURising      ReasonCode = "cpu_rising"     // use grows from day to day: a margin for growth
	ReasonCPUHeld        ReasonCode = "cpu_held"       // newer numbers differ, but not enough
	ReasonMemoryHeld     ReasonCode = "memory_held"
	ReasonCPUHeadroom    ReasonCode = "cpu_headroom"     // the request was multiplied by the headroom
	ReasonCPUThrottled   ReasonCode = "cpu_throttled"    // the limit throttles too much
	ReasonCPUUnthrottled ReasonCode = "cpu_unthrottled"  // the limit is what short peaks need
	ReasonCPUSaturated   ReasonCode = "cpu_saturated"    // the demand behind the limit is not known
	ReasonCPUBurst       ReasonCode = "cpu_burst"        // a burst allowance would cure the throttling
	ReasonCPUThreads     ReasonCode = "cpu_threads"      // the number of threads is the cause
	ReasonCPULimitRatio  ReasonCode = "cpu_limit_ratio"  // the limit is at least twice the request
	ReasonCPUPeak        ReasonCode = "cpu_peak"         // the limit covers the highest use of one sample
	ReasonCPUIdle        ReasonCode = "cpu_idle"         // no CPU was used: no hint
	ReasonCPUOversized   ReasonCode = "cpu_oversized"    // the request is far above use
	ReasonCPUNoRequest   ReasonCode = "cpu_no_request"   // there is no request
	ReasonCPUNoLimit     ReasonCode = "cpu_no_limit"     // there is no limit, and the policy wants one
	ReasonCPUNodeCap     ReasonCode = "cpu_node_cap"     // the node has no more
	ReasonFewCPUSamples  ReasonCode = "cpu_few_samples"  // too few samples: no hint
	ReasonMemoryPeak     ReasonCode = "memory_peak"      // the highest working set and a margin
	ReasonMemoryOOM      ReasonCode = "memory_oom"       // killed at the container's own limit
	ReasonMemoryPodOOM   ReasonCode = "memory_pod_oom"   // killed at the pod's limit
	ReasonMemoryOtherOOM ReasonCode = "memory_other_oom" // killed by a limit elsewhere: no raise
	ReasonMemoryPressure ReasonCode = "memory_pressure"  // tasks stalled near the limit
	ReasonMemoryHigh     ReasonCode = "memory_high"      // tasks were held at memory.high
	ReasonMemoryRefaults ReasonCode = "memory_refaults"  // file pages were read again and again
	ReasonMemoryLeak     ReasonCode = "memory_leak"      // the working set only grows
	ReasonMemoryOversize ReasonCode = "memory_oversized" // the request is far above use
	ReasonMemoryNoReq    ReasonCode = "memory_no_request"
	ReasonMemoryNoLimit  ReasonCode = "memory_no_limit"
	ReasonMemoryNodeCap  ReasonCode = "memory_node_cap"
	ReasonFewMemSamples  ReasonCode = "memory_few_samples"
	ReasonStateful       ReasonCode = "qos_stateful"    // a stateful workload should be Guaranteed
	ReasonBestEffort     ReasonCode = "qos_besteffort"  // dies first
	ReasonPolicyUnknown  ReasonCode = "policy_unknown"  // the annotation names no policy
	ReasonPolicyAnnotate ReasonCode = "policy_pod"      // the policy is the pod's own
	ReasonNodeJS         ReasonCode = "runtime_nodejs"  // --max-old-space-size goes with the limit
	ReasonJVM            ReasonCode = "runtime_jvm"     // MaxRAMPercentage, Xmx
	ReasonGo             ReasonCode = "runtime_go"      // GOMEMLIMIT, GOMAXPROCS
	ReasonRedis          ReasonCode = "runtime_redis"   // maxmemory
	ReasonMongoDB        ReasonCode = "runtime_mongodb" // wiredTigerCacheSizeGB
)

// ReasonCodes returns every reason there is.
func ReasonCodes() []ReasonCode {
	return []ReasonCode{
		ReasonCPUDemand,
		ReasonCPUSpan,
		ReasonCPULevelRose,
		ReasonCPUUrgent,
		ReasonCPURising,
		ReasonCPUHeld,
		ReasonMemoryHeld,
		ReasonCPUHeadroom,
		ReasonCPUThrottled,
		ReasonCPUUnthrottled,
		ReasonCPUSaturated,
		ReasonCPUBurst,
		ReasonCPUThreads,
		ReasonCPULimitRatio,
		ReasonCPUPeak,
		ReasonCPUIdle,
		ReasonCPUOversized,
		ReasonCPUNoRequest,
		ReasonCPUNoLimit,
		ReasonCPUNodeCap,
		ReasonFewCPUSamples,
		ReasonMemoryPeak,
		ReasonMemoryOOM,
		ReasonMemoryPodOOM,
		ReasonMemoryOtherOOM,
		ReasonMemoryPressure,
		ReasonMemoryHigh,
		ReasonMemoryRefaults,
		ReasonMemoryLeak,
		ReasonMemoryOversize,
		ReasonMemoryNoReq,
		ReasonMemoryNoLimit,
		ReasonMemoryNodeCap,
		ReasonFewMemSamples,
		ReasonStateful,
		ReasonBestEffort,
		ReasonPolicyUnknown,
		ReasonPolicyAnnotate,
		ReasonNodeJS,
		ReasonJVM,
		ReasonGo,
		ReasonRedis,
		ReasonMongoDB,
	}
}
