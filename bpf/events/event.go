// SPDX-License-Identifier: Apache-2.0

package events

import (
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// The names of the sources, as in slicewatch_source_up.
const (
	Lifecycle = "lifecycle"
	OOM       = "oom"
)

// Birth is a cgroup one to three levels below kubepods that was made.
type Birth struct {
	Time         time.Time
	ID, ParentID uint64 // cgroup ids, never reused before a reboot
	// Name is that of its directory; empty where it could not be read.
	Name string
}

// Death is such a cgroup that was removed. Its directory is gone already.
type Death struct {
	Time         time.Time
	ID, ParentID uint64
	Name         string
	// Final has what the kernel knew exactly at that moment, in the units of
	// the control files: CPU time and the quota's counters, memory.events,
	// memory.events.local and swap.events, memory.peak, and the settings
	// memory.max, memory.oom.group and cpu.max. What it brings up to date only
	// now and then (memory.stat, pressure, io.stat) is absent.
	//
	// How CPU time divides into user and system is exact where the kernel
	// shows what each CPU has not yet added up, else it is estimated from what
	// was added up before; their sum is always CPUUsage.
	Final cgroupfs.Reading
}

// Late is what a cgroup's CPU counters say some time after its Death, if that
// is more. A task counts as gone before it has left its CPU for good (so it is up
// to Linux 6.12 at least), and its cgroup can be removed in between: what the
// task uses until then is charged all the same. Each of its tasks may bring one.
type Late struct {
	Time time.Time
	ID   uint64
	// Final has those of Death's Final that are the CPU controller's.
	Final cgroupfs.Reading
}

// Place is a cgroup, and which ones it is below.
type Place struct {
	ID uint64
	// Below are the cgroup itself and its ancestors, as far as they are one,
	// two and three levels below kubepods; 0 where there is none. Of a process
	// in a cgroup that a container made for itself they lead to the container.
	Below [3]uint64
}

// Kill is one process that the kernel killed for want of memory.
type Kill struct {
	Time time.Time
	// Incident is the same for all victims of one decision, and different for
	// others since boot; 0 where it is not known.
	Incident uint64

	PID     int // of the process, in the host's namespace
	Command string
	Victim  Place

	// LimitKnown says that Limit, Global, Constraint, LimitBytes, UsageBytes
	// and Group mean something. Without it only the victim is known.
	LimitKnown bool
	// Limit is the cgroup whose memory.max was hit; zero when Global.
	Limit Place
	// Global says that the node's memory was exhausted, no cgroup's.
	Global     bool
	Constraint Constraint
	// LimitBytes and UsageBytes are of the cgroup Limit; 0 when Global.
	LimitBytes, UsageBytes uint64
	// Group says that all of the victim's cgroup was to die
	// (memory.oom.group).
	Group bool

	// TriggerPID is the process that asked for memory when there was none.
	TriggerPID     int
	TriggerCommand string

	AnonBytes, FileBytes, ShmemBytes, SwapBytes uint64
	OOMScoreAdj                                 int
}

// Constraint is what restricted the allocation that failed, as in
// include/linux/oom.h, enum oom_constraint.
type Constraint uint8

// The constraints.
const (
	ConstraintNone Constraint = iota
	ConstraintCpuset
	ConstraintMemoryPolicy
	ConstraintMemcg
)

// Handler takes events. Its methods are called by Drain, in order. A pointer
// is valid during the call only.
type Handler interface {
	OnBirth(*Birth)
	OnDeath(*Death)
	OnLate(*Late)
	OnKill(*Kill)
}

// Tally is what a source says of itself; its numbers only grow.
type Tally struct {
	Lost uint64 // events for which the ring had no room
	// Failed are events that lack something that could not be read, kills that
	// may be told again, and, with the lifecycle, reads that failed of either.
	Failed uint64
	// Marked are tasks that were exiting anyway and got the last memory for
	// it: no kills, and not told.
	Marked uint64
}
