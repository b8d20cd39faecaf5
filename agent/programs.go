// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"slices"

	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/sampling/reading"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/bpf/iterator"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Programs tries each eBPF program and returns what became of it, for the
// doctor. Nothing stays loaded.
func Programs(cfg config.Config) []bpf.Status {
	if bpf.Mode(cfg.BPF) == bpf.Off {
		all := append([]bpf.Status{{Program: iterator.Name, Without: iterator.Without}}, events.Down(nil)...)
		all = append(all, bpf.Status{Program: durations.ThrottleName, Without: durations.WithoutThrottle},
			bpf.Status{Program: durations.StallName, Without: durations.WithoutStall},
			bpf.Status{Program: durations.PeriodsName, Without: durations.WithoutPeriods})
		for i := range all {
			all[i].Err = &bpf.Unavailable{Program: all[i].Program, Reason: bpf.SwitchedOff}
		}
		return all
	}
	return slices.Concat([]bpf.Status{tryIterator(cfg)}, tryEvents(), tryDurations(cfg))
}

func tryIterator(cfg config.Config) bpf.Status {
	var r *iterator.Reader
	err := cgroupfs.CheckRoot(cfg.Paths.CgroupFS)
	if err == nil {
		r, err = iterator.Open(iterator.Config{Root: cfg.Paths.CgroupFS})
	}
	if err != nil {
		return bpf.Status{Program: iterator.Name, Without: iterator.Without, Err: err}
	}
	status := r.Status()
	if err := r.Close(); err != nil {
		status.Err = err
	}
	return status
}

// openReading opens what cgroups are read through. Where eBPF is required, what
// keeps the iterator away is an error.
func (a *Agent) openReading(cfg config.Config) error {
	settings := reading.Config{Files: a.reader, Log: a.log}
	mode := bpf.Mode(cfg.BPF)
	switch {
	case a.recording && mode == bpf.Required:
		return fmt.Errorf("--bpf=required: %s is no cgroup file system but a recording of one", cfg.Paths.CgroupFS)
	case !a.recording && mode != bpf.Off:
		settings.Open = func() (reading.Iterator, error) {
			it, err := iterator.Open(iterator.Config{Root: cfg.Paths.CgroupFS})
			if err != nil {
				return nil, err // no typed nil in the interface
			}
			return it, nil
		}
	}
	a.reading = reading.New(settings)
	if err := a.reading.Err(); err != nil && mode == bpf.Required {
		return errors.Join(fmt.Errorf("--bpf=required: %w", err), a.reading.Close())
	}
	return nil
}
