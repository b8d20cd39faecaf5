// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// OOMScope is the level whose memory limit was hit when the kernel killed.
type OOMScope uint8

// The scopes. ScopeUnknown is for what cannot be told without eBPF, and for a
// limit that is neither in the tree of pods nor the node's memory.
const (
	ScopeUnknown OOMScope = iota
	ScopeContainer
	ScopePod
	ScopeQoS
	ScopeKubepods
	ScopeNode // the kernel's global OOM: no limit, the node's memory ran out
	NumOOMScopes
)

var scopeNames = [NumOOMScopes]string{"unknown", "container", "pod", "qos", "kubepods", "node"}

// String returns the scope as metric labels spell it.
func (s OOMScope) String() string {
	if s >= NumOOMScopes {
		return scopeNames[ScopeUnknown]
	}
	return scopeNames[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s OOMScope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *OOMScope) UnmarshalText(text []byte) error {
	i := slices.Index(scopeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no scope of an OOM kill", text)
	}
	*s = OOMScope(i)
	return nil
}

// ScopeOf returns the scope of a limit at this level of the tree.
func ScopeOf(level cgroupfs.Level) OOMScope {
	switch level {
	case cgroupfs.LevelContainer:
		return ScopeContainer
	case cgroupfs.LevelPod:
		return ScopePod
	case cgroupfs.LevelQoS:
		return ScopeQoS
	case cgroupfs.LevelKubepods:
		return ScopeKubepods
	}
	return ScopeUnknown
}

// OOMSeries is the OOM kills of one namespace, pod and container, over all its
// incarnations and over restarts of the agent.
type OOMSeries struct {
	// Series identifies the exported series of this entry as long as its
	// labels stay the same.
	Series                    uint64
	Namespace, Pod, Container string
	QoS                       cgroupfs.QoS
	// Kills counts OOMs that killed something in the container, Processes what
	// they killed, both by OOMScope. They never fall.
	Kills, Processes [NumOOMScopes]uint64
}

// Where an OOM record comes from.
const (
	// OOMFromKernel is an event of the kernel's own: every field is exact.
	OOMFromKernel = "kernel"
	// OOMFromFiles is inferred from memory.events: no victims, the time to
	// about two sample intervals, the scope where the counters tell it.
	OOMFromFiles = "files"
)

// OOMRecord is one OOM that killed something in one container. It does not
// change once it is in a snapshot: what changes gets another record. Its JSON is
// what /api/v1/ooms answers with and what the state directory keeps.
type OOMRecord struct {
	// ID is unique on the node as long as its state directory lives; a later
	// kill has a higher one.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`

	Namespace    string `json:"namespace"`
	Pod          string `json:"pod"`
	Container    string `json:"container"`
	QoS          string `json:"qos"`
	PodUID       string `json:"podUID,omitempty"`
	ContainerID  string `json:"containerID,omitempty"`
	WorkloadKind string `json:"workloadKind,omitempty"`
	Workload     string `json:"workload,omitempty"`
	CgroupID     uint64 `json:"cgroupID,omitempty"`

	Scope OOMScope `json:"scope"`
	// Message says in a sentence what happened.
	Message string    `json:"message"`
	Limit   *OOMLimit `json:"limit,omitempty"`
	// Trigger is the task whose allocation could not be met. It need not be
	// in the same container as the victim.
	Trigger *OOMTask `json:"trigger,omitempty"`
	// Processes is how many processes of the container were killed. Victims
	// has the first of them; none when Source is OOMFromFiles.
	Processes int         `json:"processes"`
	Victims   []OOMVictim `json:"victims,omitempty"`
	// Group says that memory.oom.group made the kernel kill the whole container.
	Group  bool   `json:"group"`
	Source string `json:"source"`
	// Before is what the container did in the minute before, oldest first.
	Before []Moment `json:"before,omitempty"`
}

// OOMLimit is the cgroup whose memory.max was hit.
type OOMLimit struct {
	CgroupID uint64 `json:"cgroupID,omitempty"`
	// Path is below the cgroup root; empty if the agent does not know the cgroup.
	Path       string `json:"path,omitempty"`
	Bytes      Amount `json:"bytes,omitzero"`
	UsageBytes Amount `json:"usageBytes,omitzero"`
}

// OOMTask is a task of the node.
type OOMTask struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

// OOMVictim is one killed process, with its resident memory at that moment.
type OOMVictim struct {
	PID         int    `json:"pid"` // on the node
	Command     string `json:"command"`
	AnonBytes   uint64 `json:"anonBytes"`
	FileBytes   uint64 `json:"fileBytes"`
	ShmemBytes  uint64 `json:"shmemBytes"`
	SwapBytes   uint64 `json:"swapBytes,omitempty"`
	OOMScoreAdj int    `json:"oomScoreAdj"`
}

// Moment is what a container did in one sample interval. Times are shares of
// the interval since the moment before, in microseconds.
type Moment struct {
	Time                 time.Time `json:"time"`
	MemoryBytes          Amount    `json:"memoryBytes,omitzero"`     // memory.current
	WorkingSetBytes      Amount    `json:"workingSetBytes,omitzero"` // as the kubelet computes it
	AnonBytes            Amount    `json:"anonBytes,omitzero"`
	CPUMicros            Amount    `json:"cpuMicros,omitzero"`            // CPU time used
	ThrottledMicros      Amount    `json:"throttledMicros,omitzero"`      // held by the CPU quota, over all CPUs
	CPUPressureMicros    Amount    `json:"cpuPressureMicros,omitzero"`    // some task waited for a CPU
	MemoryPressureMicros Amount    `json:"memoryPressureMicros,omitzero"` // some task waited for memory
}

// IsZero says that the amount is unknown, so that JSON leaves it out.
func (a Amount) IsZero() bool { return !a.Known }

// MarshalJSON gives the number, or null for one that is unknown.
func (a Amount) MarshalJSON() ([]byte, error) {
	if !a.Known {
		return []byte("null"), nil
	}
	return json.Marshal(a.N)
}

// UnmarshalJSON takes what MarshalJSON gives.
func (a *Amount) UnmarshalJSON(text []byte) error {
	var n *int64
	if err := json.Unmarshal(text, &n); err != nil {
		return fmt.Errorf("read an amount: %w", err)
	}
	*a = Amount{}
	if n != nil {
		*a = Amount{N: *n, Known: true}
	}
	return nil
}
