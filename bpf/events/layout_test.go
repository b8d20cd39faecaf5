// SPDX-License-Identifier: Apache-2.0

package events

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/slicewatch/slicewatch/test/layouts"
)

// What the programs write and what is decoded must be the same, on both
// architectures.
func TestLayoutsAreThoseOfTheObjects(t *testing.T) {
	for object, types := range layouts.Compare(t, "program", map[string]any{
		"birth": programBirth{}, "death": programDeath{}, "late": programLate{}, "kill": programKill{}, "tally": programTally{}, "victim": programVictim{},
	}) {
		compareEnums(t, object, types)
	}
}

// Enumerators of which a program uses the value are not always in BTF.
func compareEnums(t *testing.T, object string, types *btf.Spec) {
	t.Helper()
	for enum, values := range map[string]map[string]uint64{
		"kind": {"KIND_BIRTH": kindBirth, "KIND_DEATH": kindDeath, "KIND_KILL": kindKill, "KIND_LATE": kindLate},
		"part": {"PART_PENDING": partPending, "PART_GROUP_TIME": partGroupTime, "PART_BANDWIDTH": partBandwidth, "PART_MEMORY": partMemory},
		"flag": {"FLAG_LIMIT_KNOWN": flagLimitKnown, "FLAG_GLOBAL": flagGlobal, "FLAG_GROUP": flagGroup},
	} {
		var e *btf.Enum
		if err := types.TypeByName(enum, &e); err != nil {
			t.Errorf("%s: enum %s: %v", object, enum, err)
			continue
		}
		if len(e.Values) != len(values) {
			t.Errorf("%s: enum %s has %d values in C, %d in Go", object, enum, len(e.Values), len(values))
		}
		for _, v := range e.Values {
			if values[v.Name] != v.Value {
				t.Errorf("%s: %s is %d in C, %d in Go", object, v.Name, v.Value, values[v.Name])
			}
		}
	}
}
