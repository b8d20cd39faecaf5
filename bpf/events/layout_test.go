// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// What the programs write and what is decoded must be the same, on both
// architectures: names, offsets, sizes.
func TestLayoutsAreThoseOfTheObjects(t *testing.T) {
	if _, err := os.Stat("layout_test.go"); err != nil {
		t.Skip("the objects are read where the sources are, not in a test machine")
	}
	objects, err := filepath.Glob("program_*_bpfel.o")
	if err != nil || len(objects) != 2 {
		t.Fatalf("objects %q (%v), want two", objects, err)
	}
	for _, object := range objects {
		content, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		for name, of := range map[string]any{
			"birth": programBirth{}, "death": programDeath{}, "late": programLate{}, "kill": programKill{}, "tally": programTally{},
		} {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Errorf("%s: struct %s: %v", object, name, err)
				continue
			}
			compareLayout(t, object+": "+name, c, reflect.TypeOf(of))
		}
		compareEnums(t, object, spec.Types)
	}
}

func compareLayout(t *testing.T, where string, c *btf.Struct, g reflect.Type) {
	t.Helper()
	if uintptr(c.Size) != g.Size() {
		t.Errorf("%s: %d bytes in C, %d in Go", where, c.Size, g.Size())
	}
	var fields []reflect.StructField
	for field := range g.Fields() {
		if field.Name != "_" {
			fields = append(fields, field)
		}
	}
	if len(fields) != len(c.Members) {
		t.Fatalf("%s: %d fields in C, %d in Go", where, len(c.Members), len(fields))
	}
	for i, member := range c.Members {
		field := fields[i]
		size, err := btf.Sizeof(member.Type)
		if err != nil {
			t.Fatal(err)
		}
		same := strings.EqualFold(strings.ReplaceAll(member.Name, "_", ""), field.Name)
		if !same || uintptr(member.Offset.Bytes()) != field.Offset || uintptr(size) != field.Type.Size() {
			t.Errorf("%s: %s at %d, %d bytes, in C; %s at %d, %d bytes, in Go", where,
				member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size())
		}
		if inner, ok := btf.UnderlyingType(member.Type).(*btf.Struct); ok {
			compareLayout(t, where+"."+member.Name, inner, field.Type)
		}
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
