// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"testing"

	"github.com/slicewatch/slicewatch/test/layouts"
)

// What the programs write and what is read must be the same, on both architectures.
func TestLayouts(t *testing.T) {
	for program, structs := range map[string]map[string]any{
		"throttle": {"interval": throttleInterval{}, "excess": throttleExcess{}},
		"stall":    {"stall_key": stallStallKey{}, "stall_sum": stallStallSum{}},
		"periods":  {"period": periodsPeriod{}},
	} {
		t.Run(program, func(t *testing.T) { layouts.Compare(t, program, structs) })
	}
}
