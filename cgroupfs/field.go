// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import "math"

// Field names one number that the kernel keeps for a cgroup. Values are in the
// kernel's own units (FieldInfo.Unit), so that nothing is rounded before the
// exposition.
type Field uint8

// The fields, grouped by the file they come from. Kernel documentation:
// Documentation/admin-guide/cgroup-v2.rst.
const (
	CPUUsage            Field = iota // cpu.stat usage_usec
	CPUUser                          // cpu.stat user_usec
	CPUSystem                        // cpu.stat system_usec
	CPUPeriods                       // cpu.stat nr_periods
	CPUThrottledPeriods              // cpu.stat nr_throttled
	CPUThrottled                     // cpu.stat throttled_usec
	CPUBurstPeriods                  // cpu.stat nr_bursts
	CPUBurst                         // cpu.stat burst_usec
	CPUQuota                         // cpu.max, first word; may be Unlimited
	CPUPeriod                        // cpu.max, second word
	CPUBurstLimit                    // cpu.max.burst
	CPUWeight                        // cpu.weight
	CPUPressureSome                  // cpu.pressure some total
	CPUPressureFull                  // cpu.pressure full total

	MemoryCurrent  // memory.current
	MemoryPeak     // memory.peak (5.19 and newer)
	MemoryMax      // memory.max; may be Unlimited
	MemoryHigh     // memory.high; may be Unlimited
	MemoryMin      // memory.min; may be Unlimited
	MemoryLow      // memory.low; may be Unlimited
	MemoryOOMGroup // memory.oom.group, 0 or 1

	MemoryEventLow          // memory.events low (with descendants, as are the next five)
	MemoryEventHigh         // memory.events high
	MemoryEventMax          // memory.events max
	MemoryEventOOM          // memory.events oom
	MemoryEventOOMKill      // memory.events oom_kill: a group kill counts its victim twice
	MemoryEventOOMGroupKill // memory.events oom_group_kill (5.17 and newer)

	MemoryLocalEventLow          // memory.events.local low (this cgroup's own limit, as are the next five)
	MemoryLocalEventHigh         // memory.events.local high
	MemoryLocalEventMax          // memory.events.local max
	MemoryLocalEventOOM          // memory.events.local oom
	MemoryLocalEventOOMKill      // memory.events.local oom_kill
	MemoryLocalEventOOMGroupKill // memory.events.local oom_group_kill

	MemoryAnon            // memory.stat anon
	MemoryFile            // memory.stat file
	MemoryShmem           // memory.stat shmem
	MemoryKernel          // memory.stat kernel (5.18 and newer)
	MemorySlabReclaimable // memory.stat slab_reclaimable
	MemoryInactiveFile    // memory.stat inactive_file
	MemoryActiveFile      // memory.stat active_file
	MemoryFileDirty       // memory.stat file_dirty
	MemoryFileWriteback   // memory.stat file_writeback
	MemorySock            // memory.stat sock
	MemoryMajorFaults     // memory.stat pgmajfault
	MemoryRefaultAnon     // memory.stat workingset_refault_anon
	MemoryRefaultFile     // memory.stat workingset_refault_file

	MemoryPressureSome // memory.pressure some total
	MemoryPressureFull // memory.pressure full total

	SwapCurrent   // memory.swap.current
	SwapMax       // memory.swap.max; may be Unlimited
	SwapEventHigh // memory.swap.events high
	SwapEventMax  // memory.swap.events max
	SwapEventFail // memory.swap.events fail

	IOReadBytes    // io.stat rbytes, summed over devices
	IOWriteBytes   // io.stat wbytes
	IODiscardBytes // io.stat dbytes
	IOReads        // io.stat rios
	IOWrites       // io.stat wios
	IODiscards     // io.stat dios
	IOPressureSome // io.pressure some total
	IOPressureFull // io.pressure full total

	PIDsCurrent // pids.current
	PIDsMax     // pids.max; may be Unlimited

	NumFields // how many fields there are; not a field
)

// Unlimited is what a limit field holds when its file says "max". It is not
// the same as a field that is absent.
const Unlimited = math.MaxUint64

// Unit is the unit of a field's raw value.
type Unit uint8

// The units that cgroup files use.
const (
	UnitCount Unit = iota
	UnitMicroseconds
	UnitBytes
)

// FieldInfo says where a field comes from and how it behaves.
type FieldInfo struct {
	File string // the cgroup file, for example "cpu.stat"
	Key  string // the key in that file, for example "usage_usec"; empty in a file of one value
	Unit Unit
	// Counter is true for what only grows while the cgroup lives.
	Counter bool
	// Setting is true for what somebody configured: it changes when the file
	// is written to, not by itself.
	Setting bool
}

// Info returns the description of f.
func (f Field) Info() FieldInfo { return fields[f] }

// String returns the field as "file key", for messages.
func (f Field) String() string {
	if f >= NumFields {
		return "unknown field"
	}
	if fields[f].Key == "" {
		return fields[f].File
	}
	return fields[f].File + " " + fields[f].Key
}

var fields = [NumFields]FieldInfo{
	CPUUsage:            {File: "cpu.stat", Key: "usage_usec", Unit: UnitMicroseconds, Counter: true},
	CPUUser:             {File: "cpu.stat", Key: "user_usec", Unit: UnitMicroseconds, Counter: true},
	CPUSystem:           {File: "cpu.stat", Key: "system_usec", Unit: UnitMicroseconds, Counter: true},
	CPUPeriods:          {File: "cpu.stat", Key: "nr_periods", Counter: true},
	CPUThrottledPeriods: {File: "cpu.stat", Key: "nr_throttled", Counter: true},
	CPUThrottled:        {File: "cpu.stat", Key: "throttled_usec", Unit: UnitMicroseconds, Counter: true},
	CPUBurstPeriods:     {File: "cpu.stat", Key: "nr_bursts", Counter: true},
	CPUBurst:            {File: "cpu.stat", Key: "burst_usec", Unit: UnitMicroseconds, Counter: true},
	// cpu.max is no Setting: the kernel rescales quota and period by itself
	// when its period timer is late (kernel/sched/fair.c, sched_cfs_period_timer).
	CPUQuota:        {File: "cpu.max", Key: "quota", Unit: UnitMicroseconds},
	CPUPeriod:       {File: "cpu.max", Key: "period", Unit: UnitMicroseconds},
	CPUBurstLimit:   {File: "cpu.max.burst", Unit: UnitMicroseconds, Setting: true},
	CPUWeight:       {File: "cpu.weight", Setting: true},
	CPUPressureSome: {File: "cpu.pressure", Key: "some", Unit: UnitMicroseconds, Counter: true},
	CPUPressureFull: {File: "cpu.pressure", Key: "full", Unit: UnitMicroseconds, Counter: true},

	MemoryCurrent:  {File: "memory.current", Unit: UnitBytes},
	MemoryPeak:     {File: "memory.peak", Unit: UnitBytes},
	MemoryMax:      {File: "memory.max", Unit: UnitBytes, Setting: true},
	MemoryHigh:     {File: "memory.high", Unit: UnitBytes, Setting: true},
	MemoryMin:      {File: "memory.min", Unit: UnitBytes, Setting: true},
	MemoryLow:      {File: "memory.low", Unit: UnitBytes, Setting: true},
	MemoryOOMGroup: {File: "memory.oom.group", Setting: true},

	MemoryEventLow:          {File: "memory.events", Key: "low", Counter: true},
	MemoryEventHigh:         {File: "memory.events", Key: "high", Counter: true},
	MemoryEventMax:          {File: "memory.events", Key: "max", Counter: true},
	MemoryEventOOM:          {File: "memory.events", Key: "oom", Counter: true},
	MemoryEventOOMKill:      {File: "memory.events", Key: "oom_kill", Counter: true},
	MemoryEventOOMGroupKill: {File: "memory.events", Key: "oom_group_kill", Counter: true},

	MemoryLocalEventLow:          {File: "memory.events.local", Key: "low", Counter: true},
	MemoryLocalEventHigh:         {File: "memory.events.local", Key: "high", Counter: true},
	MemoryLocalEventMax:          {File: "memory.events.local", Key: "max", Counter: true},
	MemoryLocalEventOOM:          {File: "memory.events.local", Key: "oom", Counter: true},
	MemoryLocalEventOOMKill:      {File: "memory.events.local", Key: "oom_kill", Counter: true},
	MemoryLocalEventOOMGroupKill: {File: "memory.events.local", Key: "oom_group_kill", Counter: true},

	MemoryAnon:            {File: "memory.stat", Key: "anon", Unit: UnitBytes},
	MemoryFile:            {File: "memory.stat", Key: "file", Unit: UnitBytes},
	MemoryShmem:           {File: "memory.stat", Key: "shmem", Unit: UnitBytes},
	MemoryKernel:          {File: "memory.stat", Key: "kernel", Unit: UnitBytes},
	MemorySlabReclaimable: {File: "memory.stat", Key: "slab_reclaimable", Unit: UnitBytes},
	MemoryInactiveFile:    {File: "memory.stat", Key: "inactive_file", Unit: UnitBytes},
	MemoryActiveFile:      {File: "memory.stat", Key: "active_file", Unit: UnitBytes},
	MemoryFileDirty:       {File: "memory.stat", Key: "file_dirty", Unit: UnitBytes},
	MemoryFileWriteback:   {File: "memory.stat", Key: "file_writeback", Unit: UnitBytes},
	MemorySock:            {File: "memory.stat", Key: "sock", Unit: UnitBytes},
	MemoryMajorFaults:     {File: "memory.stat", Key: "pgmajfault", Counter: true},
	MemoryRefaultAnon:     {File: "memory.stat", Key: "workingset_refault_anon", Counter: true},
	MemoryRefaultFile:     {File: "memory.stat", Key: "workingset_refault_file", Counter: true},

	MemoryPressureSome: {File: "memory.pressure", Key: "some", Unit: UnitMicroseconds, Counter: true},
	MemoryPressureFull: {File: "memory.pressure", Key: "full", Unit: UnitMicroseconds, Counter: true},

	SwapCurrent:   {File: "memory.swap.current", Unit: UnitBytes},
	SwapMax:       {File: "memory.swap.max", Unit: UnitBytes, Setting: true},
	SwapEventHigh: {File: "memory.swap.events", Key: "high", Counter: true},
	SwapEventMax:  {File: "memory.swap.events", Key: "max", Counter: true},
	SwapEventFail: {File: "memory.swap.events", Key: "fail", Counter: true},

	IOReadBytes:    {File: "io.stat", Key: "rbytes", Unit: UnitBytes, Counter: true},
	IOWriteBytes:   {File: "io.stat", Key: "wbytes", Unit: UnitBytes, Counter: true},
	IODiscardBytes: {File: "io.stat", Key: "dbytes", Unit: UnitBytes, Counter: true},
	IOReads:        {File: "io.stat", Key: "rios", Counter: true},
	IOWrites:       {File: "io.stat", Key: "wios", Counter: true},
	IODiscards:     {File: "io.stat", Key: "dios", Counter: true},
	IOPressureSome: {File: "io.pressure", Key: "some", Unit: UnitMicroseconds, Counter: true},
	IOPressureFull: {File: "io.pressure", Key: "full", Unit: UnitMicroseconds, Counter: true},

	PIDsCurrent: {File: "pids.current"},
	PIDsMax:     {File: "pids.max", Setting: true},
}
