// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// What the first word of a record says (enum kind in records.h).
const (
	kindBirth = 1
	kindDeath = 2
	kindKill  = 3
	kindLate  = 4
)

// enum part.
const (
	partPending   = 1 << 0
	partGroupTime = 1 << 1
	partBandwidth = 1 << 2
	partMemory    = 1 << 3
)

// enum flag.
const (
	flagLimitKnown = 1 << 0
	flagGlobal     = 1 << 1
	flagGroup      = 1 << 2
)

// decoder turns records into events.
type decoder struct {
	pageBytes uint64
	// bootedAt is the wall clock's time when CLOCK_BOOTTIME was 0.
	bootedAt time.Time

	birth programBirth
	death programDeath
	late  programLate
	kill  programKill
}

var errUnknownKind = errors.New("a record of an unknown kind")

// decode gives one record to the handler.
func (d *decoder) decode(record []byte, to Handler) error {
	if len(record) < 4 {
		return fmt.Errorf("decode an event: %d bytes are too few", len(record))
	}
	switch kind := binary.NativeEndian.Uint32(record); kind {
	case kindBirth:
		if err := fill(record, &d.birth); err != nil {
			return fmt.Errorf("decode a birth: %w", err)
		}
		to.OnBirth(&Birth{
			Time: d.time(d.birth.TimeNs), ID: d.birth.Id, ParentID: d.birth.Parent, Name: text(d.birth.Name[:]),
		})
	case kindDeath:
		if err := fill(record, &d.death); err != nil {
			return fmt.Errorf("decode a death: %w", err)
		}
		to.OnDeath(d.asDeath())
	case kindLate:
		if err := fill(record, &d.late); err != nil {
			return fmt.Errorf("decode what came after a death: %w", err)
		}
		late := &Late{Time: d.time(d.late.TimeNs), ID: d.late.Id}
		setCPU(&late.Final, d.late.Parts, (*programCpuTimes)(&d.late.Cpu))
		to.OnLate(late)
	case kindKill:
		if err := fill(record, &d.kill); err != nil {
			return fmt.Errorf("decode a kill: %w", err)
		}
		to.OnKill(d.asKill())
	default:
		return fmt.Errorf("decode an event: %w: %d", errUnknownKind, kind)
	}
	return nil
}

// fill reads a struct. The ring's records are padded to 8 bytes, as the
// structs are.
func fill(record []byte, to any) error {
	if size := binary.Size(to); size != len(record) {
		return fmt.Errorf("%d bytes instead of %d", len(record), size)
	}
	_, err := binary.Decode(record, binary.NativeEndian, to)
	return err
}

func (d *decoder) time(ns uint64) time.Time { return d.bootedAt.Add(time.Duration(ns)) }

func text(b []uint8) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func (d *decoder) asKill() *Kill {
	k := &d.kill
	return &Kill{
		Time: d.time(k.TimeNs), Incident: k.Incident,
		PID: int(k.Tgid), Command: text(k.Comm[:]), Victim: Place{ID: k.Victim.Id, Below: k.Victim.Below},
		LimitKnown: k.Flags&flagLimitKnown != 0, Limit: Place{ID: k.Limit.Id, Below: k.Limit.Below},
		Global: k.Flags&flagGlobal != 0, Constraint: Constraint(k.Constraint), Group: k.Flags&flagGroup != 0,
		LimitBytes: k.LimitPages * d.pageBytes, UsageBytes: k.UsagePages * d.pageBytes,
		TriggerPID: int(k.TriggerTgid), TriggerCommand: text(k.TriggerComm[:]),
		AnonBytes: k.AnonPages * d.pageBytes, FileBytes: k.FilePages * d.pageBytes,
		ShmemBytes: k.ShmemPages * d.pageBytes, SwapBytes: k.SwapPages * d.pageBytes,
		OOMScoreAdj: int(k.Adj),
	}
}

func (d *decoder) asDeath() *Death {
	raw := &d.death
	death := &Death{Time: d.time(raw.TimeNs), ID: raw.Id, ParentID: raw.Parent, Name: text(raw.Name[:])}
	setCPU(&death.Final, raw.Parts, (*programCpuTimes)(&raw.Cpu))
	if raw.Parts&partMemory != 0 {
		d.setMemory(&death.Final)
	}
	return death
}

const (
	microNs = uint64(time.Microsecond)
	// noQuota is what the kernel has for a quota of "max" (RUNTIME_INF).
	noQuota = ^uint64(0)
)

func setCPU(r *cgroupfs.Reading, parts uint32, raw *programCpuTimes) {
	if parts&(partPending|partGroupTime) != 0 {
		usage := raw.UsageNs
		if parts&partGroupTime != 0 {
			// What was added up lacks what cgroups below it used and had not
			// yet handed on; the scheduler's sum lacks real-time tasks.
			usage = max(usage, raw.GroupNs)
		}
		user, system := divide(usage, raw)
		r.Set(cgroupfs.CPUUsage, usage/microNs)
		r.Set(cgroupfs.CPUUser, user/microNs)
		r.Set(cgroupfs.CPUSystem, system/microNs)
	}
	if parts&partBandwidth == 0 {
		return
	}
	r.Set(cgroupfs.CPUPeriods, raw.Periods)
	r.Set(cgroupfs.CPUThrottledPeriods, raw.ThrottledPeriods)
	r.Set(cgroupfs.CPUThrottled, raw.ThrottledNs/microNs)
	r.Set(cgroupfs.CPUBurstPeriods, raw.Bursts)
	r.Set(cgroupfs.CPUBurst, raw.BurstNs/microNs)
	quota := uint64(cgroupfs.Unlimited)
	if raw.QuotaNs != noQuota {
		quota = raw.QuotaNs / microNs
	}
	r.Set(cgroupfs.CPUQuota, quota)
	r.Set(cgroupfs.CPUPeriod, raw.PeriodNs/microNs)
}

// divide splits CPU time in the ratio of what was sampled at ticks, neither
// part below what cpu.stat showed before: kernel/sched/cputime.c,
// cputime_adjust.
func divide(usage uint64, raw *programCpuTimes) (user, system uint64) {
	switch sampled := raw.UserNs + raw.SystemNs; {
	case raw.SystemNs == 0:
		system = 0
	case raw.UserNs == 0:
		system = usage
	default:
		system = uint64(float64(usage) * (float64(raw.SystemNs) / float64(sampled)))
	}
	system = min(max(system, raw.ShownSystemNs), usage)
	user = usage - system
	if user < raw.ShownUserNs {
		user = min(raw.ShownUserNs, usage)
		system = usage - user
	}
	return user, system
}

func (d *decoder) setMemory(r *cgroupfs.Reading) {
	raw := &d.death
	r.Set(cgroupfs.MemoryPeak, raw.PeakPages*d.pageBytes)
	r.Set(cgroupfs.MemoryOOMGroup, raw.OomGroup)
	limit := uint64(cgroupfs.Unlimited)
	// PAGE_COUNTER_MAX, include/linux/page_counter.h.
	if raw.MaxPages < uint64(1<<63-1)/d.pageBytes {
		limit = raw.MaxPages * d.pageBytes
	}
	r.Set(cgroupfs.MemoryMax, limit)
	for i := range raw.MemoryEvents {
		r.Set(cgroupfs.MemoryEventLow+cgroupfs.Field(i), raw.MemoryEvents[i])
		r.Set(cgroupfs.MemoryLocalEventLow+cgroupfs.Field(i), raw.LocalEvents[i])
	}
	for i := range raw.SwapEvents {
		r.Set(cgroupfs.SwapEventHigh+cgroupfs.Field(i), raw.SwapEvents[i])
	}
}
