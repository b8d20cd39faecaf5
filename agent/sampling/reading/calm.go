// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"slices"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// calm says how long a cgroup has done nothing that could show in io.stat.
type calm struct {
	last   [len(traces)]uint64
	sweeps int // without a change
}

// traces are what the iterator tells that disk traffic of a cgroup cannot go
// without: its tasks run or wait for the disk, pages of files come, become
// dirty or are written back, or memory is swapped.
var traces = [...]cgroupfs.Field{
	cgroupfs.CPUUsage, cgroupfs.IOPressureSome, cgroupfs.MemoryFile, cgroupfs.MemoryFileDirty, cgroupfs.MemoryFileWriteback,
	cgroupfs.SwapCurrent,
}

const (
	// calmAfter sweeps without a trace io.stat is read less often: every
	// calmEvery sweeps.
	calmAfter = 2
	calmEvery = 10
)

// readRest reads the files that the iterator does not stand for. That is mostly
// io.stat, which costs a third of what the iterator takes for all the rest, and
// does not change in an idle cgroup.
func (r *Reader) readRest(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	if r.lazy && !r.isDue(c, into) {
		return nil
	}
	return r.cfg.Files.Read(c, into)
}

func (r *Reader) isDue(c *cgroupfs.Cgroup, into *cgroupfs.Reading) bool {
	known := r.calm[c.ID]
	if known == nil {
		known = &calm{}
		r.calm[c.ID] = known
	}
	changed := false
	for i, f := range traces {
		v, _ := into.Get(f)
		changed = changed || v != known.last[i]
		known.last[i] = v
	}
	if writeback, _ := into.Get(cgroupfs.MemoryFileWriteback); changed || writeback > 0 {
		known.sweeps = 0
		return true
	}
	known.sweeps++
	return known.sweeps <= calmAfter || known.sweeps%calmEvery == 0
}

// onlyIO says whether io.stat is all that is left of the files that change by
// themselves.
func onlyIO(given []string) bool {
	for f := range cgroupfs.NumFields {
		if info := f.Info(); !info.Setting && info.File != "io.stat" && !slices.Contains(given, info.File) {
			return false
		}
	}
	return true
}
