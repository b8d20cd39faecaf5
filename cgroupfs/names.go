// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a path may hold to be believed. They are far above what the
// kubelet and the runtimes make, and keep labels and logs bounded whatever
// somebody calls a cgroup.
const (
	maxPathBytes   = 1024
	maxNameBytes   = 255 // NAME_MAX
	minPodUIDBytes = 8
	maxPodUIDBytes = 128
	minIDDigits    = 12 // the short form of Docker's ids
	maxIDDigits    = 128
	fullIDDigits   = 64 // what containerd, CRI-O and Docker make
)

// Driver is how the kubelet makes cgroups (its setting cgroupDriver), which
// decides how they are named.
type Driver uint8

// The kubelet's cgroup drivers.
const (
	// DriverSystemd makes slices and scopes: every name repeats its parents'
	// names, and a "-" within a part becomes "_".
	DriverSystemd Driver = iota + 1
	// DriverCgroupfs makes plain directories.
	DriverCgroupfs
)

// String returns the driver as the kubelet's configuration spells it.
func (d Driver) String() string {
	switch d {
	case DriverSystemd:
		return "systemd"
	case DriverCgroupfs:
		return "cgroupfs"
	}
	return "unknown"
}

// Classify tells from its path alone what the cgroup at path is. The path is
// relative to the cgroup root and starts with a slash, as k.Path does. It
// reports false for what neither the kubelet nor a runtime made for a pod:
// paths outside kubepods, runtimes' helpers (crio-conmon), what containers
// make below themselves, and names that no kubelet or runtime would give.
// ID and Parent of the result are not set.
//
// The names are the kubelet's (pkg/kubelet/cm, CgroupName.ToSystemd and
// ToCgroupfs; pod_container_manager_linux.go) and those of the runtimes'
// systemd and cgroupfs cgroup managers.
func Classify(k Kubepods, path string) (Cgroup, bool) {
	if k.Path == "" || !plausiblePath(path) {
		return Cgroup{}, false
	}
	rest, ok := strings.CutPrefix(path, k.Path)
	if !ok {
		return Cgroup{}, false
	}
	if rest == "" {
		return Cgroup{Path: path, Level: LevelKubepods}, true
	}
	rest, ok = strings.CutPrefix(rest, "/")
	if !ok {
		return Cgroup{}, false
	}
	c := Cgroup{Path: path, Level: LevelQoS, QoS: Guaranteed}
	first, rest, more := strings.Cut(rest, "/")
	if qos, ok := k.qosOf(first); ok {
		c.QoS = qos
		if !more {
			return c, true
		}
		first, rest, more = strings.Cut(rest, "/")
	}
	c.Level = LevelPod
	if c.PodUID, ok = k.podUIDOf(c.QoS, first); !ok {
		return Cgroup{}, false
	}
	if !more {
		return c, true
	}
	c.Level = LevelContainer
	if c.ContainerID, c.Runtime, ok = containerOf(rest); !ok {
		return Cgroup{}, false
	}
	return c, true
}

// qosOf returns the QoS class whose slice is called name.
func (k Kubepods) qosOf(name string) (QoS, bool) {
	for _, q := range [...]QoS{Burstable, BestEffort} {
		if k.Driver == DriverCgroupfs && name == q.String() {
			return q, true
		}
		if k.Driver == DriverSystemd && name == k.slicePrefix()+"-"+q.String()+".slice" {
			return q, true
		}
	}
	return 0, false
}

// podUIDOf returns the UID of the pod whose cgroup is called name and lies in
// the slice of class qos.
func (k Kubepods) podUIDOf(qos QoS, name string) (string, bool) {
	if k.Driver == DriverSystemd {
		prefix := k.slicePrefix() + "-"
		if qos != Guaranteed {
			prefix += qos.String() + "-"
		}
		var ok bool
		if name, ok = strings.CutPrefix(name, prefix); !ok {
			return "", false
		}
		if name, ok = strings.CutSuffix(name, ".slice"); !ok {
			return "", false
		}
		// A "-" here would be one more level of slices.
		if strings.Contains(name, "-") {
			return "", false
		}
		name = strings.ReplaceAll(name, "_", "-")
	}
	uid, ok := strings.CutPrefix(name, "pod")
	if !ok || !plausiblePodUID(uid) {
		return "", false
	}
	return uid, true
}

// slicePrefix returns what the names of all slices below k start with: the
// name of kubepods itself, any --cgroup-root included.
func (k Kubepods) slicePrefix() string {
	return strings.TrimSuffix(k.Path[strings.LastIndexByte(k.Path, '/')+1:], ".slice")
}

// containerOf takes the name of a cgroup directly below a pod apart. Runtime
// is empty where the name does not tell it.
func containerOf(name string) (id, runtime string, ok bool) {
	name, scope := strings.CutSuffix(name, ".scope")
	dash := strings.LastIndexByte(name, '-')
	id = name[dash+1:]
	if !plausibleContainerID(id) || scope && dash < 0 {
		return "", "", false
	}
	if dash < 0 {
		return id, "", true
	}
	switch maker := name[:dash]; maker {
	case "cri-containerd":
		return id, "containerd", true
	case "crio":
		return id, "cri-o", true
	case "docker":
		return id, "docker", true
	case "libpod":
		return id, "", true
	default:
		// Runtimes that are not known by name (iSulad for one) must show a
		// full id, so that not every scope with a hexadecimal end passes.
		return id, "", len(id) == fullIDDigits && plausibleMaker(maker)
	}
}

// plausibleMaker says whether a runtime may put s before a container's id.
// Monitor processes (crio-conmon-<id>, libpod-conmon-<id>) carry the id of the
// container that they look after, and are none.
func plausibleMaker(s string) bool {
	if s == "" || len(s) > 32 || strings.HasSuffix(s, "conmon") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

// plausibleContainerID accepts lower-case hexadecimal digits.
func plausibleContainerID(s string) bool {
	if len(s) < minIDDigits || len(s) > maxIDDigits {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// plausiblePodUID accepts what may stand behind "pod": UUIDs, the 32
// hexadecimal digits of static pods, and what the author of a static pod's
// manifest may write as metadata.uid, which the kubelet takes as it is.
func plausiblePodUID(s string) bool {
	if len(s) < minPodUIDBytes || len(s) > maxPodUIDBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// plausiblePath says whether s is an absolute, clean path that can be shown
// and exported as it is.
func plausiblePath(s string) bool {
	if len(s) < 2 || len(s) > maxPathBytes || s[0] != '/' {
		return false
	}
	for name := range strings.SplitSeq(s[1:], "/") {
		if !plausibleName(name) {
			return false
		}
	}
	return true
}

// plausibleName says whether s can be one element of a path that is shown.
func plausibleName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxNameBytes || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return !strings.Contains(s, "/")
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
