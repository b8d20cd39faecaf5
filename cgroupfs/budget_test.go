// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"math"
	"testing"
)

func TestMaxOpenFor(t *testing.T) {
	const page, largePage = 4 << 10, 64 << 10
	tests := []struct {
		name      string
		wanted    int
		softLimit uint64
		pageBytes int
		want      int
	}{
		{"usual soft limit", 0, 1024, page, 768},
		{"reserve grows with the limit", 0, 4096, page, 3072},
		{"kernel memory bounds", 0, 1 << 20, page, 8192},
		{"kernel memory bounds, large pages", 0, 1 << 20, largePage, 512},
		{"no limit", 0, math.MaxUint64, page, 8192},
		{"limit below the reserve", 0, 200, page, 0},
		{"wanted", 100, 1024, page, 100},
		{"wanted more than kernel memory bounds", 20000, 1 << 20, page, 20000},
		{"wanted more than the limit allows", 20000, 1024, page, 768},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := maxOpenFor(tt.wanted, tt.softLimit, tt.pageBytes); got != tt.want {
				t.Errorf("%d descriptors, want %d", got, tt.want)
			}
		})
	}
}

// The directories' descriptors come out of what the files' leave to the rest of
// the agent, of which at least a half must be left.
func TestKeptDirsFor(t *testing.T) {
	for limit, want := range map[uint64]int{0: 0, 64: 8, 256: 32, 1024: 128, 8192: maxKeptDirs, 1 << 20: maxKeptDirs, math.MaxUint64: maxKeptDirs} {
		got := keptDirsFor(limit)
		if got != want {
			t.Errorf("limit %d: %d directories, want %d", limit, got, want)
		}
		if rest := int(min(limit, 1<<30)) - maxOpenFor(0, limit, 1); limit > 0 && got > rest/2 {
			t.Errorf("limit %d: %d directories of the %d descriptors that the files leave", limit, got, rest)
		}
	}
}
