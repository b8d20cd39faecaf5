// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// pathIdentities names cgroups by their paths alone.
type pathIdentities struct{}

const shortID = 12

func (pathIdentities) Container(c *cgroupfs.Cgroup) *snapshot.ContainerIdentity {
	return &snapshot.ContainerIdentity{Pod: c.PodUID, Name: c.ContainerID[:min(shortID, len(c.ContainerID))], PodUID: c.PodUID}
}

func (pathIdentities) Pod(c *cgroupfs.Cgroup) *snapshot.PodIdentity {
	return &snapshot.PodIdentity{Name: c.PodUID, UID: c.PodUID}
}

func (pathIdentities) Sandbox(*cgroupfs.Cgroup) (sandbox, known bool) { return false, false }

func (pathIdentities) Forget(*cgroupfs.Cgroup) {}

func (pathIdentities) Sources() []snapshot.Source { return nil }
