// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"math"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// LifeEnd says how a life of a container ended.
type LifeEnd string

// The ends.
const (
	// LifeRuns is for a life that has not ended.
	LifeRuns LifeEnd = "running"
	// LifeEnded is for one whose last counters were told.
	LifeEnded LifeEnd = "ended"
	// LifeOOMKilled is for one that ended with an OOM kill in it.
	LifeOOMKilled LifeEnd = "oom_killed"
	// LifeUnseen is for one that was only found gone: its counters are those of
	// the sweep before, and may be missing.
	LifeUnseen LifeEnd = "unseen"
)

// Life is one incarnation of a container: one cgroup, from its start to its
// end. One that is in a snapshot does not change: what changes gets another.
type Life struct {
	// Namespace, Pod and Container are as in ContainerIdentity.
	Namespace, Pod, Container string
	QoS                       cgroupfs.QoS
	// PodUID and ContainerID are those of the path; empty where unknown.
	PodUID, ContainerID string
	CgroupID            uint64
	// Started is when the main process started, else when the cgroup was made.
	// Ended is when the kernel removed the cgroup or, for LifeUnseen, when the agent
	// noticed. Either is zero if unknown, not both.
	Started, Ended time.Time
	End            LifeEnd
	// CPUMicros is the CPU time used in this life, in µs (cpu.stat usage_usec).
	CPUMicros Amount
	// ThrottledMicros is for how long the quota held it, in µs, summed over CPUs
	// (cpu.stat throttled_usec). Unknown without a quota.
	ThrottledMicros Amount
	// MemoryPeakBytes is memory.peak; where the kernel has none (before 5.19), the
	// highest memory.current that a sweep saw.
	MemoryPeakBytes Amount
	// MemoryLimitBytes is memory.max; unknown without a limit.
	MemoryLimitBytes Amount
}

// Since is when the life began or, where that is not known, ended.
func (l *Life) Since() time.Time {
	if l.Started.IsZero() {
		return l.Ended
	}
	return l.Started
}

// Count takes over what the life's cgroup says. highest is the highest
// memory.current that was seen.
func (l *Life) Count(r *cgroupfs.Reading, highest Amount) {
	l.CPUMicros = AmountOf(r, cgroupfs.CPUUsage)
	quota, _ := r.Get(cgroupfs.CPUQuota)
	periods, _ := r.Get(cgroupfs.CPUPeriods)
	// The kernel counts periods only under a quota, which may be gone by now.
	if quota != 0 && quota != cgroupfs.Unlimited || periods > 0 {
		l.ThrottledMicros = AmountOf(r, cgroupfs.CPUThrottled)
	}
	if l.MemoryPeakBytes = AmountOf(r, cgroupfs.MemoryPeak); !l.MemoryPeakBytes.Known {
		l.MemoryPeakBytes = highest
	}
	l.MemoryLimitBytes = AmountOf(r, cgroupfs.MemoryMax)
}

// AmountOf returns a field of a reading; a limit of "max" is unknown.
func AmountOf(r *cgroupfs.Reading, f cgroupfs.Field) Amount {
	v, ok := r.Get(f)
	if !ok || v > math.MaxInt64 {
		return Amount{}
	}
	return Amount{N: int64(v), Known: true}
}

// PresentLife returns the life of a container that runs, false for one that
// does not and for a sandbox.
func (c *Container) PresentLife() (Life, bool) {
	if c.Sandbox || !c.Ended.IsZero() {
		return Life{}, false
	}
	l := Life{
		Namespace: c.Identity.Namespace, Pod: c.Identity.Pod, Container: c.Identity.Name, QoS: c.QoS,
		PodUID: c.Identity.PodUID, ContainerID: c.ContainerID, CgroupID: c.CgroupID, Started: c.Started, End: LifeRuns,
	}
	l.Count(&c.Current, c.HighestMemoryBytes)
	return l, true
}
