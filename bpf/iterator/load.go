// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// loaded is the program in the kernel, with its maps as memory.
type loaded struct {
	collection *ebpf.Collection
	program    *ebpf.Program
	records    []programRecord // mapped
	walk       *programWalk    // mapped
	mapped     [][]byte
}

// load brings the program into the kernel with room for so many records.
func load(types *btf.Spec, where indexes, capacity int) (*loaded, error) {
	spec, err := loadProgram()
	if err != nil {
		return nil, err
	}
	spec.Maps[programMapRecords].MaxEntries = uint32(capacity)
	if err := errors.Join(
		spec.Variables[programVarStateIndex].Set(where.states),
		spec.Variables[programVarEventIndex].Set(where.events),
	); err != nil {
		return nil, fmt.Errorf("set the indexes of statistics: %w", err)
	}
	l := &loaded{}
	l.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types},
	})
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	l.program = l.collection.Programs[programProgWalkCgroups]
	records, err := l.mmap(l.collection.Maps[programMapRecords], capacity*int(unsafe.Sizeof(programRecord{})))
	if err == nil {
		l.records = unsafe.Slice((*programRecord)(unsafe.Pointer(unsafe.SliceData(records))), capacity)
		var walk []byte
		walk, err = l.mmap(l.collection.Maps[programMapWalks], int(unsafe.Sizeof(programWalk{})))
		l.walk = (*programWalk)(unsafe.Pointer(unsafe.SliceData(walk)))
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// complete returns an error if the last walk could not read all that it meant to:
// then there are zeros among the records that are none.
func (l *loaded) complete() error {
	if n := l.walk.Unread; n > 0 {
		return fmt.Errorf("walk the cgroups: %d reads of kernel memory gave nothing", n)
	}
	return nil
}

// mmap maps the first bytes of an array map for reading.
func (l *loaded) mmap(m *ebpf.Map, bytes int) ([]byte, error) {
	page := os.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (bytes+page-1)/page*page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", bytes, m, err)
	}
	l.mapped = append(l.mapped, memory)
	return memory, nil
}

func (l *loaded) close() error {
	var errs []error
	for _, memory := range l.mapped {
		if err := unix.Munmap(memory); err != nil {
			errs = append(errs, fmt.Errorf("unmap the records: %w", err))
		}
	}
	l.records, l.walk, l.mapped = nil, nil, nil
	l.collection.Close()
	return errors.Join(errs...)
}
