// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// statistic is a number of memory.stat that the kernel keeps in
// memcg_vmstats.state.
type statistic struct {
	field cgroupfs.Field
	item  string // its enumerator
	bytes bool   // or a count; else pages
}

// statistics are in the order of the program's state_index. Units:
// memcg_page_state_unit() of mm/memcontrol.c.
var statistics = [...]statistic{
	{field: cgroupfs.MemoryAnon, item: "NR_ANON_MAPPED"},
	{field: cgroupfs.MemoryFile, item: "NR_FILE_PAGES"},
	{field: cgroupfs.MemoryShmem, item: "NR_SHMEM"},
	{field: cgroupfs.MemoryKernel, item: "MEMCG_KMEM"},
	{field: cgroupfs.MemorySlabReclaimable, item: "NR_SLAB_RECLAIMABLE_B", bytes: true},
	{field: cgroupfs.MemoryInactiveFile, item: "NR_INACTIVE_FILE"},
	{field: cgroupfs.MemoryActiveFile, item: "NR_ACTIVE_FILE"},
	{field: cgroupfs.MemoryFileDirty, item: "NR_FILE_DIRTY"},
	{field: cgroupfs.MemoryFileWriteback, item: "NR_WRITEBACK"},
	{field: cgroupfs.MemorySock, item: "MEMCG_SOCK"},
	{field: cgroupfs.MemoryRefaultAnon, item: "WORKINGSET_REFAULT_ANON", bytes: true},
	{field: cgroupfs.MemoryRefaultFile, item: "WORKINGSET_REFAULT_FILE", bytes: true},
}

// events are those of memcg_vmstats.events, in the order of event_index.
var events = [...]cgroupfs.Field{cgroupfs.MemoryMajorFaults}

// compactedItems is how memcg_node_stat_items[] of mm/memcontrol.c begins since
// 6.11, when the array lost its unused places. The first 20 do not depend on
// the kernel's configuration.
var compactedItems = [...]string{
	"NR_INACTIVE_ANON", "NR_ACTIVE_ANON", "NR_INACTIVE_FILE", "NR_ACTIVE_FILE", "NR_UNEVICTABLE",
	"NR_SLAB_RECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE_B",
	"WORKINGSET_REFAULT_ANON", "WORKINGSET_REFAULT_FILE", "WORKINGSET_ACTIVATE_ANON", "WORKINGSET_ACTIVATE_FILE",
	"WORKINGSET_RESTORE_ANON", "WORKINGSET_RESTORE_FILE", "WORKINGSET_NODERECLAIM",
	"NR_ANON_MAPPED", "NR_FILE_MAPPED", "NR_FILE_PAGES", "NR_FILE_DIRTY", "NR_WRITEBACK", "NR_SHMEM",
}

// indexes say where in memcg_vmstats each number is; -1: it is not known.
type indexes struct {
	states [len(statistics)]int32
	events [len(events)]int32
}

// unknown has no index at all.
func unknown() indexes {
	var in indexes
	for i := range in.states {
		in.states[i] = -1
	}
	for i := range in.events {
		in.events[i] = -1
	}
	return in
}

// layout is what the kernel's types say of memcg_vmstats.
type layout struct {
	states, events int               // elements of the arrays
	items          map[string]uint64 // enumerators of node_stat_item and memcg_stat_item
}

// findIndexes works out where the statistics are. Nothing in the kernel's types
// says it outright: what comes out is checked against a file before it is used
// (Reader.check). memoryStat holds the keys of a memory.stat in their order.
func findIndexes(types *btf.Spec, memoryStat []string) (indexes, error) {
	found := unknown()
	l, err := layoutOf(types)
	if err != nil {
		return found, err
	}
	for i, s := range statistics {
		found.states[i] = l.stateIndex(s.item)
	}
	// memory.stat ends with the events, in the order of the array.
	for i, f := range events {
		if line := slices.Index(memoryStat, f.Info().Key); line >= 0 {
			found.events[i] = int32(max(-1, l.events-(len(memoryStat)-line)))
		}
	}
	return found, nil
}

// stateIndex returns where an item is in memcg_vmstats.state, or -1.
func (l layout) stateIndex(item string) int32 {
	value, there := l.items[item]
	all, first := l.items["MEMCG_NR_STAT"], l.items["MEMCG_SWAP"]
	switch {
	case !there || all == 0 || first == 0:
		return -1
	case uint64(l.states) == all: // up to 6.10 the enumerator is the index
		return int32(value)
	case value >= first: // the memory controller's own items are the last ones
		return int32(max(-1, l.states-int(all-value)))
	}
	return int32(slices.Index(compactedItems[:], item))
}

func layoutOf(types *btf.Spec) (layout, error) {
	l := layout{items: map[string]uint64{}}
	var statistics *btf.Struct
	if err := types.TypeByName("memcg_vmstats", &statistics); err != nil {
		return l, fmt.Errorf("look for the kernel's memory statistics: %w", err)
	}
	for _, member := range statistics.Members {
		array, ok := btf.UnderlyingType(member.Type).(*btf.Array)
		switch {
		case !ok:
		case member.Name == "state":
			l.states = int(array.Nelems)
		case member.Name == "events":
			l.events = int(array.Nelems)
		}
	}
	for _, name := range [...]string{"node_stat_item", "memcg_stat_item"} {
		var enum *btf.Enum
		if err := types.TypeByName(name, &enum); err != nil {
			return l, fmt.Errorf("look for the kernel's memory statistics: %w", err)
		}
		for _, v := range enum.Values {
			l.items[v.Name] = v.Value
		}
	}
	return l, nil
}

// memoryStatKeys returns the keys of a cgroup's memory.stat in their order, none
// where there is no such file.
func memoryStatKeys(dir string) ([]string, error) {
	text, err := os.ReadFile(dir + "/memory.stat")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the names in memory.stat: %w", err)
	}
	var keys []string
	for line := range strings.Lines(string(text)) {
		if key, _, ok := strings.Cut(line, " "); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
