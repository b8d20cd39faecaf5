// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

const (
	// perCPUMark stands in the programs where the address of a per-cpu variable
	// is to come (PER_CPU_MARK in records.h).
	perCPUMark = 0x736c696365
	// pseudoBTF says that a load's constant is the BTF id of a kernel variable
	// (BPF_PSEUDO_BTF_ID, include/uapi/linux/bpf.h).
	pseudoBTF = asm.Register(3)
	// perCPUVariable is there on every kernel, and BTF has it.
	perCPUVariable = "runqueues"
)

// usePerCPU puts the per-cpu variable where the marks are. Whether the kernel
// knows its address (CONFIG_KALLSYMS_ALL) shows at loading.
func usePerCPU(program asm.Instructions, types *btf.Spec, name string) error {
	var id btf.TypeID
	for i := range program {
		ins := &program[i]
		if !ins.OpCode.IsDWordLoad() || ins.Src != 0 || ins.Constant != perCPUMark {
			continue
		}
		if id == 0 { // programs without a mark do not need it
			var variable *btf.Var
			err := types.TypeByName(name, &variable)
			if err == nil {
				id, err = types.TypeID(variable)
			}
			if err != nil {
				return fmt.Errorf("find the kernel variable %s: %w", name, err)
			}
		}
		ins.Src, ins.Constant = pseudoBTF, int64(id)
	}
	return nil
}
