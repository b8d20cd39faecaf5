// SPDX-License-Identifier: Apache-2.0

package iterator

import "math/bits"

// cpuSplit is CPU time in ns, by mode, as cpu.stat shows it.
type cpuSplit struct{ user, system uint64 }

// adjust splits total, which is exact, in the proportion of user and system,
// which count ticks. It is cputime_adjust() of kernel/sched/cputime.c: neither
// part gets less than before, although the proportion may say so, unless before is
// more than there is. before has to hold the greatest parts that were ever shown.
//
// The kernel drops bits of the product on some machines (mul_u64_u64_div_u64
// before 6.13, but for amd64); here it is exact, so that after days of CPU
// time the parts can differ from the file's by some microseconds.
func (before cpuSplit) adjust(total, user, system uint64) cpuSplit {
	if before.user+before.system >= total {
		// More than total is of two splits: one shown here, one by the file.
		user = min(before.user, total)
		return cpuSplit{user: user, system: total - user}
	}
	switch {
	case system == 0:
	case user == 0:
		system = total
	default:
		high, low := bits.Mul64(system, total)
		// The quotient is at most total, so that it cannot overflow.
		system, _ = bits.Div64(high, low, user+system)
	}
	system = max(system, before.system)
	user = total - system
	if user < before.user {
		user = before.user
		system = total - user
	}
	return cpuSplit{user: user, system: system}
}

// atLeast returns the greater of each part.
func (before cpuSplit) atLeast(other cpuSplit) cpuSplit {
	return cpuSplit{user: max(before.user, other.user), system: max(before.system, other.system)}
}
