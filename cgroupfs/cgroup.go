// SPDX-License-Identifier: Apache-2.0

package cgroupfs

// Level is the place of a cgroup in the tree that the kubelet builds.
type Level uint8

// The levels, from the root of the tree to its leaves.
const (
	LevelKubepods  Level = iota + 1 // the cgroup above all pods
	LevelQoS                        // the slice of a QoS class; Guaranteed has none
	LevelPod                        // a pod, its sandbox included
	LevelContainer                  // a container or a pod's sandbox
)

// String returns the level as metric labels and names spell it.
func (l Level) String() string {
	switch l {
	case LevelKubepods:
		return "kubepods"
	case LevelQoS:
		return "qos"
	case LevelPod:
		return "pod"
	case LevelContainer:
		return "container"
	}
	return "unknown"
}

// QoS is a Kubernetes quality-of-service class.
type QoS uint8

// The QoS classes.
const (
	Guaranteed QoS = iota
	Burstable
	BestEffort
	NumQoS // how many classes there are; not a class
)

// String returns the class as metric labels spell it.
func (q QoS) String() string {
	switch q {
	case Guaranteed:
		return "guaranteed"
	case Burstable:
		return "burstable"
	case BestEffort:
		return "besteffort"
	}
	return "unknown"
}

// Cgroup is one cgroup that the kubelet or the container runtime made, with
// what its path alone tells. Its fields do not change once it is known.
type Cgroup struct {
	// ID is the kernel's cgroup id, which is the inode number of the
	// directory: what bpf_get_current_cgroup_id returns. Never reused before
	// a reboot.
	ID uint64
	// Path is relative to the cgroup root and starts with a slash, as in
	// /proc/<pid>/cgroup: "/kubepods.slice/kubepods-burstable.slice".
	Path  string
	Level Level
	// QoS is meaningless at LevelKubepods.
	QoS QoS
	// PodUID is the UID in the path, in its dashed form. For a static pod this
	// is the hash of its manifest, not the UID that the API server shows.
	PodUID string
	// ContainerID is the runtime's id without a scheme, usually 64 hex digits.
	ContainerID string
	// Runtime is "containerd", "cri-o" or "docker" where the path says so
	// (systemd driver), else empty.
	Runtime string
	// Parent is the next cgroup upwards that the agent knows, nil at
	// LevelKubepods. A Guaranteed pod's parent is kubepods itself.
	Parent *Cgroup
}
