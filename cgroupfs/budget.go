// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// descriptorBudget counts the kept descriptors against a bound, so that the
// rest of the agent (sockets, BPF maps and links, inotify) always gets one.
type descriptorBudget struct {
	open int
	max  int
}

const (
	// minReservedDescriptors is what the rest of the agent may need at least:
	// some 30 for eBPF, 20 for files and clients, the rest for HTTP connections.
	minReservedDescriptors = 256
	// maxKeptBufferBytes bounds the kernel memory behind kept descriptors where
	// the limit on open files does not (container runtimes set it to a million or
	// more). Each holds a seq_file buffer of a page, which is charged to the agent's
	// own cgroup without showing in its RSS. 32 MiB are 8192 descriptors with
	// 4 KiB pages, enough for some 200 pods, and 512 with 64 KiB pages.
	maxKeptBufferBytes = 32 << 20
)

// newDescriptorBudget returns a budget of wanted descriptors, or of a number
// that suits the process's limits if wanted is 0. It is never so large that
// the rest of the agent would go short.
func newDescriptorBudget(wanted int) (descriptorBudget, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return descriptorBudget{}, fmt.Errorf("get the limit on open files (RLIMIT_NOFILE): %w", err)
	}
	return descriptorBudget{max: maxOpenFor(wanted, limit.Cur, unix.Getpagesize())}, nil
}

// maxOpenFor is newDescriptorBudget's arithmetic. The reserve is a quarter of
// the limit, so that it grows with what an operator allows.
func maxOpenFor(wanted int, softLimit uint64, pageBytes int) int {
	// The kernel's highest limit is 2^30 (fs.nr_open), RLIM_INFINITY is more.
	limit := int(min(softLimit, 1<<30))
	allowed := max(0, limit-max(minReservedDescriptors, limit/4))
	if wanted > 0 {
		return min(wanted, allowed)
	}
	return min(allowed, maxKeptBufferBytes/pageBytes)
}

// maxKeptDirs bounds the descriptors that are kept open for directories. The
// rest are opened at each refresh.
const maxKeptDirs = 1024

// keptDirsFor is maxKeptDirs, or an eighth of the limit on open files where that
// is less: half of what newDescriptorBudget leaves to the rest of the agent.
func keptDirsFor(softLimit uint64) int { return int(min(softLimit/8, maxKeptDirs)) }

// take says whether one more descriptor may be kept, and counts it if so.
func (b *descriptorBudget) take() bool {
	if b.open >= b.max {
		return false
	}
	b.open++
	return true
}

// give returns what take gave.
func (b *descriptorBudget) give() { b.open-- }

// shrink lowers the bound to three quarters of what is open now. It is for when
// the process ran out of descriptors in spite of the reserve.
func (b *descriptorBudget) shrink() { b.max = min(b.max, b.open*3/4) }
