// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/bpf/durations"
)

// KernelPeriods are the periods that the eBPF program tells.
type KernelPeriods struct{ *durations.Periods }

// Drain implements Periods.
func (k KernelPeriods) Drain(each func(cgroup uint64, tick quota.Tick)) {
	k.Periods.Drain(func(p durations.Period) {
		each(p.Cgroup, quota.Tick{
			At: p.End, Length: p.Length, Quota: p.Quota, Burst: p.Burst, Left: p.Left, Stall: p.Stall,
			Held: p.Held, CPUs: p.CPUs, Waiting: p.Waiting, Later: p.Later, Count: p.Count,
		})
	})
}
