// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"math"
	"strconv"
)

// SpellCores spells an amount of CPU as Kubernetes' canonical form has it: "250m", "2".
func SpellCores(v float64) string {
	millis := int64(math.Round(v * 1000))
	if millis%1000 == 0 {
		return strconv.FormatInt(millis/1000, 10)
	}
	return strconv.FormatInt(millis, 10) + "m"
}

// SpellBytes spells an amount of memory as a quantity of Kubernetes, to the byte and
// as short as that can be: "512Mi", "1040Mi", "100M". The same amount looks the same
// in sentences, tables and patches.
func SpellBytes(v float64) string {
	n := int64(math.Ceil(v))
	best := strconv.FormatInt(n, 10)
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1 << 10, "Ki"}, {1 << 20, "Mi"}, {1 << 30, "Gi"}} {
		if n == 0 || n%unit.size != 0 {
			continue
		}
		if text := strconv.FormatInt(n/unit.size, 10) + unit.name; len(text) <= len(best) {
			best = text
		}
	}
	return best
}

// near spells an amount that is worked out, not set: what is no whole byte of it
// is left at the digits that say something.
func (r *resource) near(v float64) string {
	if r.step < 1 || math.Abs(v-math.Round(v)) < 1e-6 {
		return r.spell(math.Round(v*1e6) / 1e6)
	}
	unit := float64(1 << 10)
	if v >= 100<<20 {
		unit = 1 << 20
	}
	return r.spell(math.Round(v/unit) * unit)
}
