// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"fmt"
	"slices"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// checkEvery is after how many sweeps fields are compared anew that were next to
// nothing before, which proved nothing.
const checkEvery = 300

// check compares the statistics, whose places are not known for sure, with the
// top cgroup's memory.stat, which has something of nearly everything. It lies
// between two walks, so that what moves is found in between. What differs is
// left to the file from now on. It also finds out which files this kernel does
// not have at all.
func (r *Reader) check(top *cgroupfs.Cgroup) error {
	r.untilCheck = checkEvery
	var before, file, after cgroupfs.Reading
	if !r.Read(top, &before) {
		return gone(top)
	}
	files, err := cgroupfs.NewFileReader(r.cfg.Root, cgroupfs.FileReaderConfig{MaxOpen: 1})
	if err != nil {
		return fmt.Errorf("compare with the files: %w", err)
	}
	defer files.Close() // nothing was written
	if err := files.Read(top, &file); err != nil {
		return fmt.Errorf("compare with the files: %w", err)
	}
	if err := r.walk(); err != nil {
		return err
	}
	if !r.Read(top, &after) {
		return gone(top)
	}
	r.compare(&before, &file, &after)
	return nil
}

// compare drops the fields that are not where they were thought to be, and those
// that the kernel has no file for.
func (r *Reader) compare(before, file, after *cgroupfs.Reading) {
	r.unproven = r.unproven[:0]
	for f := range cgroupfs.NumFields {
		if !r.given[f] {
			continue
		}
		b, early := before.Get(f)
		a, ok := after.Get(f)
		v, inFile := file.Get(f)
		switch {
		case early != ok: // somebody has just switched a controller on or off
		case !ok && !inFile:
		case ok != inFile:
			r.drop(f)
		case !isGuessed(f):
		case v+slack(f, v) < min(a, b) || v > max(a, b)+slack(f, v):
			r.drop(f)
		case max(v, a) <= slack(f, 0): // what is in a wrong place may be as little
			r.unproven = append(r.unproven, f)
		}
	}
	if len(r.unproven) == 0 {
		r.untilCheck = int(^uint(0) >> 1)
	}
}

// slack is what a value of memory.stat may lie outside of the two walks around
// it: the kernel lets that file be some pages late for each CPU. A wrong place
// is off by more, now or at a later check.
func slack(f cgroupfs.Field, v uint64) uint64 {
	const pages, count = 256 << 10, 64
	if f.Info().Unit == cgroupfs.UnitBytes {
		return v/8 + pages
	}
	return v/8 + count
}

// isGuessed says whether the field's place is one of findIndexes.
func isGuessed(f cgroupfs.Field) bool {
	return slices.Contains(events[:], f) ||
		slices.ContainsFunc(statistics[:], func(s statistic) bool { return s.field == f })
}

// drop leaves a field to its file.
func (r *Reader) drop(f cgroupfs.Field) {
	r.given[f] = false
	r.generation++
}
