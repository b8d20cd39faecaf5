// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/slicewatch/slicewatch/bpf"
)

// StallName is the program that tells of memory stalls, as a source is called.
const StallName = "stall"

// WithoutStall says what is missing without it.
const WithoutStall = "there are no histograms of memory stalls, or only of those at a limit; memory pressure says how long they were in all"

// The causes as the program numbers them.
const (
	causeHigh  = 1
	causeLimit = 2
)

var causes = [...]uint64{causeHigh, causeLimit}

// stallCells is how many cells the program counts in.
const stallCells = len(stallStallSum{}.Cells)

// MaxBounds is how many bounds of cells there may be.
const MaxBounds = stallCells - 1

const (
	limitBegin = "mm_vmscan_memcg_reclaim_begin"
	limitEnd   = "mm_vmscan_memcg_reclaim_end"
)

func highPairs() []pair {
	return []pair{
		{"fentry+fexit/", stallProgFentryHigh, stallProgFexitHigh, attachTrampoline},
		{"kprobe+kretprobe/", stallProgKprobeHigh, stallProgKretprobeHigh, attachProbe},
	}
}

// stall reads what the program of that name counts.
type stall struct {
	collection *ebpf.Collection
	links      []link.Link
	status     bpf.Status
	seen       uint64 // counted when the map was last read
	sums       batch[stallStallKey, stallStallSum]
}

func openStall(bounds []uint64) *stall {
	s := &stall{status: bpf.Status{Program: StallName, Without: WithoutStall}}
	if _, err := bpf.KernelTypes(StallName); err != nil {
		s.status.Err = err // loading would say something vaguer
		return s
	}
	if err := s.openAny(bounds); err != nil {
		s.status.Err = bpf.Explain(StallName, err)
	}
	return s
}

// openAny tries the ways to hook memory.high, and at last does without. An
// error says what is missing, also where some of it works.
func (s *stall) openAny(bounds []uint64) error {
	spec, err := stallSpec(bounds)
	if err != nil {
		return err
	}
	function, err := highFunction()
	var missing error
	if err == nil {
		for _, p := range highPairs() {
			spec.Programs[p.enter].AttachTo, spec.Programs[p.leave].AttachTo = function, function
			if missing = s.open(spec, &p, function); missing == nil || s.collection != nil {
				return missing
			}
		}
		err = missing
	}
	return errors.Join(err, s.openWithoutHigh(spec))
}

// stallSpec returns the programs with the bounds of the cells in them.
func stallSpec(bounds []uint64) (*ebpf.CollectionSpec, error) {
	spec, err := loadStall()
	if err != nil {
		return nil, fmt.Errorf("read the compiled program: %w", err)
	}
	var all [stallCells]uint64
	for i := range all {
		all[i] = ^uint64(0)
	}
	copy(all[:], bounds)
	if err := spec.Variables[stallVarBounds].Set(all); err != nil {
		return nil, fmt.Errorf("set the cells' bounds: %w", err)
	}
	return spec, nil
}

func (s *stall) openWithoutHigh(spec *ebpf.CollectionSpec) error {
	if err := spec.Variables[stallVarHighHooked].Set(uint32(0)); err != nil {
		return fmt.Errorf("tell the program of what is not hooked: %w", err)
	}
	return s.open(spec, nil, "")
}

// open loads and attaches. Without high, what reclaims below a memory.high is
// not counted. An error with s.collection set says that the limits are not
// hooked, though memory.high is.
func (s *stall) open(spec *ebpf.CollectionSpec, high *pair, function string) error {
	programs := []string{stallProgLimitBegin, stallProgLimitEnd}
	if high != nil {
		programs = append(programs, high.enter, high.leave)
	}
	c, err := load(spec, programs...)
	if err != nil {
		return err
	}
	var links []link.Link
	how := ""
	if high != nil {
		if links, err = high.attach(c, *high, function); err != nil {
			c.Close()
			return fmt.Errorf("attach to %s: %w", function, err)
		}
		how = high.way + function
	}
	more, err := attachRaw(c, stallProgLimitBegin, stallProgLimitEnd, limitBegin, limitEnd)
	if err != nil {
		err = fmt.Errorf("attach to %s: %w", limitBegin, err)
		if high == nil {
			c.Close()
			return err
		}
	} else {
		links = append(links, more...)
		if how != "" {
			how += ", "
		}
		how += "raw_tp/mm_vmscan_memcg_reclaim"
	}
	s.collection, s.links, s.status.How = c, links, how
	return err
}

// highFunction returns the name that the kernel has for what holds tasks for
// memory.high: it was renamed in 6.18.
func highFunction() (string, error) {
	types, err := bpf.KernelTypes(StallName)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"mem_cgroup_handle_over_high", "__mem_cgroup_handle_over_high"} {
		var function *btf.Func
		if err = types.TypeByName(name, &function); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("look for what holds tasks for memory.high: %w", err)
}

// drain passes on everything that was counted, if there is news.
func (s *stall) drain(each func(stallStallKey, *stallStallSum)) error {
	counted := number(s.collection, stallVarCounted)
	if counted == s.seen {
		return nil
	}
	s.seen = counted
	return s.sums.each(s.collection.Maps[stallMapStalls], each)
}

// look is drain for one container.
func (s *stall) look(container uint64, each func(stallStallKey, *stallStallSum)) {
	if number(s.collection, stallVarCounted) == 0 {
		return
	}
	for _, cause := range causes {
		key := stallStallKey{Container: container, Cause: cause}
		var sum stallStallSum
		if s.collection.Maps[stallMapStalls].Lookup(key, &sum) == nil {
			each(key, &sum)
		}
	}
}

// forget drops what is counted of a container that is gone.
func (s *stall) forget(container uint64) {
	if number(s.collection, stallVarCounted) == 0 {
		return
	}
	for _, cause := range causes {
		_ = s.collection.Maps[stallMapStalls].Delete(stallStallKey{Container: container, Cause: cause}) // usually not in it
	}
}

func (s *stall) lost() uint64 {
	return number(s.collection, stallVarLost) + number(s.collection, stallVarUnread)
}

func (s *stall) close() error {
	err := closeAll(s.links)
	if s.collection != nil {
		s.collection.Close()
	}
	return err
}
