// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import "math/bits"

// Reading holds what the kernel said about one cgroup. A field that the kernel
// did not give is absent, which is not 0. The zero Reading has no field.
// A Reading is a plain value: it can be copied, compared with == and kept.
type Reading struct {
	have   [2]uint64
	values [NumFields]uint64
}

// Set stores v as the value of f.
func (r *Reading) Set(f Field, v uint64) {
	r.have[f/64] |= 1 << (f % 64)
	r.values[f] = v
}

// Add adds v to f, which becomes present if it was absent.
func (r *Reading) Add(f Field, v uint64) { r.Set(f, r.values[f]+v) }

// Unset makes f absent.
func (r *Reading) Unset(f Field) {
	r.have[f/64] &^= 1 << (f % 64)
	r.values[f] = 0
}

// Get returns the value of f and whether it is there. A limit may be Unlimited.
func (r *Reading) Get(f Field) (uint64, bool) {
	return r.values[f], r.have[f/64]&(1<<(f%64)) != 0
}

// Has says whether f is there.
func (r *Reading) Has(f Field) bool { return r.have[f/64]&(1<<(f%64)) != 0 }

// Len returns how many fields are there.
func (r *Reading) Len() int { return bits.OnesCount64(r.have[0]) + bits.OnesCount64(r.have[1]) }

// WorkingSet returns memory.current minus memory.stat inactive_file, not below
// 0, as the kubelet computes it (container_memory_working_set_bytes), and
// whether both were there.
func (r *Reading) WorkingSet() (uint64, bool) {
	current, ok := r.Get(MemoryCurrent)
	inactive, ok2 := r.Get(MemoryInactiveFile)
	if !ok || !ok2 {
		return 0, false
	}
	return current - min(current, inactive), true
}
