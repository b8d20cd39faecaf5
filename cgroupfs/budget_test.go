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
