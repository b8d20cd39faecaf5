// SPDX-License-Identifier: Apache-2.0

// Package snapshot holds the domain types that the whole agent speaks: what
// one sweep of the node found, with names. It owns the types and the place
// where the newest snapshot is published. It must not know where values come
// from or who reads them: no files, no Kubernetes client, no HTTP.
package snapshot

import (
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Snapshot is everything that one sweep found. It does not change once it is
// published; readers get it from a Store and must not keep it.
type Snapshot struct {
	// Taken is when the sweep began.
	Taken time.Time
	// Sweeps counts the sweeps since the agent started, this one included.
	Sweeps uint64

	Node     Node
	Kubepods Slice
	// Classes is indexed by cgroupfs.QoS. Guaranteed has no slice of its own:
	// its counters are kubepods minus the two others, its gauges the sums of
	// its pods, its pressure absent.
	Classes    [cgroupfs.NumQoS]Slice
	Pods       []Pod
	Containers []Container

	// OOMs has an entry for every container that lives, and for those that
	// ended for longer than they are in Containers.
	OOMs []OOMSeries
	// OOMRecords are the newest kills, newest first. The slice is never written
	// to: a reader may keep it.
	OOMRecords []*OOMRecord
	// Lives are the newest lives of containers that ended, the newest end first. The
	// slice is never written to: a reader may keep it. What runs is in Containers.
	Lives []*Life

	// Cgroups counts the living cgroups, indexed by cgroupfs.Level.
	Cgroups [cgroupfs.LevelContainer + 1]int
	// Unidentified counts living containers without Kubernetes names.
	Unidentified int
	Sources      []Source
	Self         Self
	Hints        Hints
}

// Self is what the agent holds and where its own bounds bit, as of this sweep.
type Self struct {
	OpenFiles        int    // descriptors kept open on cgroup files
	OpenFilesLimit   int    // how many the reader may keep
	FilesOpenedAnew  uint64 // reads that had to open their file because of that limit
	Watches          int    // inotify watches
	WatchesFailed    uint64 // directories that could not be watched
	WatchOverflows   uint64 // times the kernel dropped inotify events
	IgnoredCgroups   int    // cgroups below kubepods whose names are no pod's or container's
	RetainedSeries   int    // ended pods and containers still exported
	RetainedDropped  uint64 // ended ones dropped before their time, to stay within the bound
	LateSweeps       uint64 // ticks skipped because the sweep before took too long
	StateWrites      uint64 // times the counters were written to the state directory
	StateWriteErrors uint64
	OOMEventsMissed  uint64 // killed processes that memory.events told and no event of the kernel, while there were such
	OOMUnplaced      uint64 // killed processes that no container could be found for
	FlightContainers int    // containers whose last minutes are recorded
	FlightRefused    uint64 // moments of containers that were not recorded, to stay within the bound
}

// Node is what the node as a whole has.
type Node struct {
	CPUs        Amount // online CPUs
	MemoryBytes Amount // MemTotal
	// Pressure holds PSI totals of the node; absent without PSI.
	Pressure [NumResources]Pressure
}

// Resource indexes Node.Pressure.
type Resource uint8

// The resources that have PSI.
const (
	ResourceCPU Resource = iota
	ResourceMemory
	ResourceIO
	NumResources
)

// String returns the resource as metric labels spell it.
func (r Resource) String() string { return [...]string{"cpu", "memory", "io"}[r] }

// Pressure is the time in which some or all tasks stalled, in microseconds.
type Pressure struct{ Some, Full Amount }

// Amount is a whole number that may be unknown, which is not 0.
type Amount struct {
	N     int64
	Known bool
}

// Measures is what is known of one exported series' cgroup or cgroups.
type Measures struct {
	// Current is what the living cgroup said at this sweep, its own counters
	// included, which start at 0 with each new cgroup. Empty once it ended.
	Current cgroupfs.Reading
	// Total has the counter fields only, carried over every incarnation of
	// this series and over restarts of the agent. They never fall.
	Total cgroupfs.Reading
}

// Slice is kubepods or a QoS class.
type Slice struct {
	Measures
	// Path is empty for the Guaranteed class and for what does not exist.
	Path    string
	Exists  bool
	Started time.Time
}

// Pod is one pod's cgroup, alive or ended less than the retention time ago.
type Pod struct {
	Measures
	// Series identifies the exported series of this entry as long as its
	// labels stay the same; another set of labels has another number.
	Series uint64
	// Identity is never nil; see PodIdentity for what is set when.
	Identity *PodIdentity
	QoS      cgroupfs.QoS
	Path     string
	CgroupID uint64
	// Started is when the cgroup appeared, as well as it is known.
	Started time.Time
	// Ended is zero while the pod lives.
	Ended time.Time
}

// Container is one container, or a pod's sandbox.
type Container struct {
	Measures
	// Series is as in Pod.
	Series uint64
	// Identity is never nil; see ContainerIdentity for what is set when.
	Identity *ContainerIdentity
	QoS      cgroupfs.QoS
	Path     string
	CgroupID uint64
	// ContainerID is the newest incarnation's id without a scheme.
	ContainerID string
	// Runtime is what the path says, else what the identity does.
	Runtime string
	// Sandbox marks the pod's pause container: it has no per-container series.
	Sandbox bool
	// Started is when the newest incarnation's main process started; zero if
	// unknown.
	Started time.Time
	// Ended is zero while an incarnation lives.
	Ended time.Time
	// Starts counts the incarnations.
	Starts uint64

	// CPUPeakMicros is the highest CPU use over any one sample interval in the
	// trailing minute, in microseconds of CPU per second.
	CPUPeakMicros Amount
	// MemoryPeakBytes is the highest memory.current in the trailing minute.
	MemoryPeakBytes Amount
	// HighestMemoryBytes is the highest memory.current that a sweep saw in the
	// newest incarnation.
	HighestMemoryBytes Amount

	// ThrottleDurations are the stretches of time in which at least one of the
	// container's CPUs was held for its quota; StallsHigh and StallsLimit the
	// times in which a task was held for memory.high and at a memory limit. They
	// go on over incarnations as counters do. nil until there is one.
	ThrottleDurations, StallsHigh, StallsLimit *Histogram

	// Hint is what its requests and limits should be; nil for what gets no
	// hints and before the first. It is never written to: a reader may keep it.
	Hint *Hint
	// Program is what the command line of its largest process shows.
	Program Runtime

	// Processes counts cgroup.procs, of the container's own cgroup and of
	// those that it made below itself.
	Processes Amount
	// OOMScoreAdj is the main process's.
	OOMScoreAdj Amount
	// OOMScore is the kernel's badness, the highest of the processes'.
	OOMScore Amount
	// OOMRank is 1 for whom the kernel would kill first in a node-wide OOM.
	OOMRank Amount
}

// PodIdentity is who a pod is. Without Kubernetes only UID is set.
type PodIdentity struct {
	Namespace string
	// Name is the pod's name, or its UID while the name is unknown.
	Name string
	// UID is the API server's, or the path's while that is unknown.
	UID string
	// Known is true once Kubernetes or the container runtime gave the names.
	Known bool
	// What the pod itself requests (pod-level resources); unknown where only its
	// containers do.
	CPURequestMillis, MemoryRequestBytes Amount
}

// ContainerIdentity is who a container is. Until Known, Namespace is empty,
// Pod is the pod UID of the path and Name the first 12 digits of the id.
type ContainerIdentity struct {
	Namespace string
	Pod       string
	Name      string
	PodUID    string
	Known     bool

	// Runtime is "containerd", "cri-o" or "docker"; empty while unknown.
	Runtime string
	Image   string
	Type    ContainerType
	// WorkloadKind and Workload name the controller, for example
	// "Deployment" and "web".
	WorkloadKind string
	Workload     string

	CPURequestMillis   Amount
	MemoryRequestBytes Amount
	// What its pod itself requests, as PodIdentity has it.
	PodCPURequestMillis, PodMemoryRequestBytes Amount
	// OOMScoreAdjExpected is what the kubelet's rule gives.
	OOMScoreAdjExpected Amount
	PriorityClass       string
	// Policy is the pod's slicewatch.dev/policy annotation.
	Policy string
}

// ContainerType says which list of the pod spec a container stands in.
type ContainerType string

// The container types; empty while unknown.
const (
	AppContainer       ContainerType = "app"
	InitContainer      ContainerType = "init"
	SidecarContainer   ContainerType = "sidecar"
	EphemeralContainer ContainerType = "ephemeral"
)

// Source is the state of one source of data.
type Source struct {
	Name string // as in slicewatch_source_up
	Up   bool
	// Reason says why a source is down, and the mend where there is one.
	Reason string
	Since  time.Time
}
