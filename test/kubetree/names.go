// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Driver is the kubelet's cgroup driver, which decides how cgroups are named.
type Driver string

// The cgroup drivers.
const (
	Systemd  Driver = "systemd"
	Cgroupfs Driver = "cgroupfs"
)

// Runtime is the container runtime, which decides how containers are named.
type Runtime string

// The runtimes. Plain names a container by its id alone whatever the driver.
const (
	Containerd Runtime = "containerd"
	CRIO       Runtime = "cri-o"
	Docker     Runtime = "docker"
	Plain      Runtime = "plain"
)

// names spells the cgroups of one tree.
type names struct {
	driver Driver
	// above are the names of the kubelet's --cgroup-root.
	above   []string
	runtime Runtime
}

func newNames(driver Driver, cgroupRoot string, runtime Runtime) (names, error) {
	switch driver {
	case Systemd, Cgroupfs:
	default:
		return names{}, fmt.Errorf("cgroup driver %q: want %q or %q", driver, Systemd, Cgroupfs)
	}
	switch runtime {
	case Containerd, CRIO, Docker, Plain:
	default:
		return names{}, fmt.Errorf("container runtime %q: want %q, %q, %q or %q", runtime, Containerd, CRIO, Docker, Plain)
	}
	above := strings.FieldsFunc(cgroupRoot, func(r rune) bool { return r == '/' })
	return names{driver: driver, above: above, runtime: runtime}, nil
}

// dir returns the path below the cgroup root of the cgroup that the kubelet
// calls parts: {"kubepods", "burstable", "pod<uid>"} (source:
// pkg/kubelet/cm/cgroup_manager_linux.go, CgroupName.ToSystemd and ToCgroupfs).
func (n names) dir(parts ...string) string {
	all := append(append([]string{}, n.above...), parts...)
	if n.driver == Cgroupfs {
		return filepath.Join(all...)
	}
	var path, slice []string
	for _, part := range all {
		slice = append(slice, strings.ReplaceAll(part, "-", "_"))
		path = append(path, strings.Join(slice, "-")+".slice")
	}
	return filepath.Join(path...)
}

// pod returns the path of a pod's cgroup.
func (n names) pod(q cgroupfs.QoS, uid string) string {
	if q == cgroupfs.Guaranteed {
		return n.dir("kubepods", "pod"+uid)
	}
	return n.dir("kubepods", q.String(), "pod"+uid)
}

// container returns the name of a container's cgroup within its pod's.
func (n names) container(id string) string {
	prefix := map[Runtime]string{Containerd: "cri-containerd-", CRIO: "crio-", Docker: "docker-"}[n.runtime]
	if n.driver == Systemd {
		if n.runtime == Plain {
			return id
		}
		return prefix + id + ".scope"
	}
	// With this driver only CRI-O puts anything before the id.
	if n.runtime == CRIO {
		return prefix + id
	}
	return id
}

// UID returns the UID that a tree with this seed gives to the pod name, in the
// form of a random UUID.
func UID(seed uint64, name string) string {
	h := hexOf(seed, "pod", name)
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:32])
}

// StaticUID is UID for a static pod: the hash of its manifest, 32 hex digits.
func StaticUID(seed uint64, name string) string { return hexOf(seed, "static", name)[:32] }

// ContainerID returns the runtime's id of a container's incarnation; attempt
// counts from 0.
func ContainerID(seed uint64, podUID, name string, attempt int) string {
	return hexOf(seed, "container", podUID, name, fmt.Sprint(attempt))
}

func hexOf(seed uint64, words ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%q", seed, words))
	return hex.EncodeToString(sum[:])
}
