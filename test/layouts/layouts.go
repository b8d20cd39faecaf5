// SPDX-License-Identifier: Apache-2.0

// Package layouts holds what eBPF programs write against what Go reads: names,
// offsets and sizes, by the BTF of the compiled objects of all architectures. It
// knows no program, and is for tests only.
package layouts

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

// architectures is how many objects each program has.
const architectures = 2

// Compare compares the C structs of these names in both objects of a program with
// Go's. It returns the types of the objects, by file. In a test machine, where
// there are no sources, the test is skipped.
func Compare(t *testing.T, program string, structs map[string]any) map[string]*btf.Spec {
	t.Helper()
	if _, err := os.Stat("doc.go"); err != nil {
		t.Skip("the objects are read where the sources are, not in a test machine")
	}
	objects, err := filepath.Glob(program + "_*_bpfel.o")
	if err != nil || len(objects) != architectures {
		t.Fatalf("objects %q (%v), want %d", objects, err, architectures)
	}
	types := map[string]*btf.Spec{}
	for _, object := range objects {
		content, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		types[object] = spec.Types
		for name, of := range structs {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Errorf("%s: struct %s: %v", object, name, err)
				continue
			}
			compare(t, object+": "+name, c, reflect.TypeOf(of))
		}
	}
	return types
}

func compare(t *testing.T, where string, c *btf.Struct, g reflect.Type) {
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
		t.Errorf("%s: %d fields in C, %d in Go", where, len(c.Members), len(fields))
		return
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
			compare(t, where+"."+member.Name, inner, field.Type)
		}
	}
}
