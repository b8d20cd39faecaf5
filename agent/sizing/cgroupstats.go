// SPDX-License-Identifier: Apache-2.0

package sizing

import "github.com/slicewatch/slicewatch/cgroupfs"

// CgroupStats opens cpu.stat files below the root where cgroups are mounted.
type CgroupStats struct{ Root string }

// Open implements Stats.
func (s CgroupStats) Open(c *cgroupfs.Cgroup) (Stat, error) { return cgroupfs.OpenCPUStat(s.Root, c) }
