// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"math"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The parts of a record, enum part of walk.bpf.c.
const (
	partCPU = 1 << iota
	partBandwidth
	partMemory
	partPIDs
	partPressure
)

const (
	noQuota = math.MaxUint64 // RUNTIME_INF, kernel/sched/sched.h
	// noPIDLimit is PIDS_MAX of kernel/cgroup/pids.c, PID_MAX_LIMIT + 1.
	noPIDLimit = 4<<20 + 1
	// weightBits is SCHED_FIXEDPOINT_SHIFT, by which shares are scaled up.
	weightBits = 10
	nsPerMicro = 1000
)

// The fields of the parts that a cgroup may lack.
var (
	bandwidthFields = [...]cgroupfs.Field{
		cgroupfs.CPUPeriods, cgroupfs.CPUThrottledPeriods, cgroupfs.CPUThrottled, cgroupfs.CPUBurstPeriods, cgroupfs.CPUBurst,
		cgroupfs.CPUQuota, cgroupfs.CPUPeriod, cgroupfs.CPUBurstLimit,
	}
	pressureFields = [...]cgroupfs.Field{ // in the record's order
		cgroupfs.IOPressureSome, cgroupfs.IOPressureFull, cgroupfs.MemoryPressureSome, cgroupfs.MemoryPressureFull,
		cgroupfs.CPUPressureSome, cgroupfs.CPUPressureFull,
	}
	eventFields = [...]cgroupfs.Field{
		cgroupfs.MemoryEventLow, cgroupfs.MemoryEventHigh, cgroupfs.MemoryEventMax,
		cgroupfs.MemoryEventOOM, cgroupfs.MemoryEventOOMKill, cgroupfs.MemoryEventOOMGroupKill,
	}
	localEventFields = [...]cgroupfs.Field{
		cgroupfs.MemoryLocalEventLow, cgroupfs.MemoryLocalEventHigh, cgroupfs.MemoryLocalEventMax,
		cgroupfs.MemoryLocalEventOOM, cgroupfs.MemoryLocalEventOOMKill, cgroupfs.MemoryLocalEventOOMGroupKill,
	}
	swapEventFields = [...]cgroupfs.Field{cgroupfs.SwapEventHigh, cgroupfs.SwapEventMax, cgroupfs.SwapEventFail}
	limitFields     = [...]cgroupfs.Field{
		cgroupfs.MemoryMin, cgroupfs.MemoryLow, cgroupfs.MemoryHigh, cgroupfs.MemoryMax, cgroupfs.SwapMax,
	}
	amountFields = [...]cgroupfs.Field{cgroupfs.MemoryCurrent, cgroupfs.MemoryPeak, cgroupfs.SwapCurrent}
)

// fill turns a record into what the control files would have said.
func (r *Reader) fill(from *programRecord, into *cgroupfs.Reading) {
	r.fillCPU(from, into)
	r.fillMemory(from, into)
	for i, f := range pressureFields {
		r.put(into, f, from.Parts&partPressure != 0, from.PressureNs[i]/nsPerMicro)
	}
	pids := from.Parts&partPIDs != 0
	r.put(into, cgroupfs.PIDsCurrent, pids, from.Pids)
	limit := from.PidsMax
	if limit >= noPIDLimit {
		limit = cgroupfs.Unlimited
	}
	r.put(into, cgroupfs.PIDsMax, pids, limit)
}

// put sets a field, or makes it absent where the cgroup does not have it. What
// the iterator does not give is left to the files.
func (r *Reader) put(into *cgroupfs.Reading, f cgroupfs.Field, has bool, v uint64) {
	switch {
	case !r.given[f]:
	case has:
		into.Set(f, v)
	default:
		into.Unset(f)
	}
}

func (r *Reader) fillCPU(from *programRecord, into *cgroupfs.Reading) {
	// Whoever reads the file moves the kernel's own memory of what it showed. To
	// stay with the file, and never fall, it counts as shown here too.
	split := r.splits[from.Id].atLeast(cpuSplit{user: from.ShownUserNs, system: from.ShownSystemNs})
	split = split.adjust(from.UsageNs, from.UserNs, from.SystemNs)
	r.splits[from.Id] = split
	r.put(into, cgroupfs.CPUUsage, true, from.UsageNs/nsPerMicro)
	r.put(into, cgroupfs.CPUUser, true, split.user/nsPerMicro)
	r.put(into, cgroupfs.CPUSystem, true, split.system/nsPerMicro)
	r.put(into, cgroupfs.CPUWeight, from.Parts&partCPU != 0, weight(from.Shares))

	quota := uint64(cgroupfs.Unlimited)
	if from.QuotaNs != noQuota {
		quota = from.QuotaNs / nsPerMicro
	}
	values := [len(bandwidthFields)]uint64{
		from.Periods, from.ThrottledPeriods, from.ThrottledNs / nsPerMicro, from.Bursts, from.BurstNs / nsPerMicro,
		quota, from.PeriodNs / nsPerMicro, from.BurstLimitNs / nsPerMicro,
	}
	for i, f := range bandwidthFields {
		r.put(into, f, from.Parts&partBandwidth != 0, values[i])
	}
}

// weight is sched_weight_to_cgroup() of kernel/sched/core.c: 1024 shares are a
// weight of 100, rounded to the nearest.
func weight(shares uint64) uint64 {
	if shares > 0 {
		shares = max(2, shares>>weightBits)
	}
	return (shares*100 + 512) / 1024
}

func (r *Reader) fillMemory(from *programRecord, into *cgroupfs.Reading) {
	has := from.Parts&partMemory != 0
	for i, pages := range [len(amountFields)]uint64{from.Memory, from.Peak, from.Swap} {
		r.put(into, amountFields[i], has, pages*r.pageBytes)
	}
	for i, pages := range [len(limitFields)]uint64{from.Min, from.Low, from.High, from.Max, from.SwapMax} {
		r.put(into, limitFields[i], has, r.limit(pages))
	}
	r.put(into, cgroupfs.MemoryOOMGroup, has, from.OomGroup)
	for i, f := range eventFields {
		r.put(into, f, has, from.MemoryEvents[i])
		r.put(into, localEventFields[i], has, from.LocalEvents[i])
	}
	for i, f := range swapEventFields {
		r.put(into, f, has, from.SwapEvents[i])
	}
	for i := range statistics {
		s := &statistics[i]
		// The sum over CPUs can be below 0 for a moment, and the files show 0.
		v := uint64(max(0, from.States[i]))
		if !s.bytes {
			v *= r.pageBytes
		}
		r.put(into, s.field, has, v)
	}
	for i, f := range events {
		r.put(into, f, has, from.Events[i])
	}
}

// limit turns a limit in pages into bytes. PAGE_COUNTER_MAX of
// linux/page_counter.h is "max".
func (r *Reader) limit(pages uint64) uint64 {
	if pages >= math.MaxInt64/r.pageBytes {
		return cgroupfs.Unlimited
	}
	return pages * r.pageBytes
}
