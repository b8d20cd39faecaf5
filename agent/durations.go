// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"

	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/sampling"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// tryDurations says what became of the programs, for the doctor.
func tryDurations(cfg config.Config) []bpf.Status {
	if err := cgroupfs.CheckRoot(cfg.Paths.CgroupFS); err != nil {
		return []bpf.Status{
			{Program: durations.ThrottleName, Without: durations.WithoutThrottle, Err: err},
			{Program: durations.StallName, Without: durations.WithoutStall, Err: err},
			{Program: durations.PeriodsName, Without: durations.WithoutPeriods, Err: err},
		}
	}
	periods := durations.OpenPeriods()
	ofPeriods := periods.Status()
	ofPeriods.Err = errors.Join(ofPeriods.Err, periods.Close())
	r, err := durations.Open(durations.Config{BoundsNanos: snapshot.DurationBoundsNanos()})
	if err != nil {
		return []bpf.Status{{Program: durations.ThrottleName, Err: err}, ofPeriods}
	}
	statuses := append(r.Status(), ofPeriods)
	if err := r.Close(); err != nil {
		statuses[0].Err = errors.Join(statuses[0].Err, err)
	}
	return statuses
}

// openDurations opens what tells how long containers were held, and of each period
// of their quota. Where eBPF is required, what is missing of it is an error; else it is logged once and shows
// as a source that is down.
func (a *Agent) openDurations(cfg config.Config, settings *sampling.Config) error {
	mode := bpf.Mode(cfg.BPF)
	if a.recording || mode == bpf.Off {
		return nil
	}
	var err error
	a.durations, err = durations.Open(durations.Config{BoundsNanos: snapshot.DurationBoundsNanos()})
	if err != nil {
		return fmt.Errorf("open the programs that measure durations: %w", err)
	}
	a.periods = durations.OpenPeriods()
	settings.Periods = a.periods
	for _, status := range append(a.durations.Status(), a.periods.Status()) {
		switch {
		case status.Err == nil:
			a.log.Info("an eBPF program runs", "program", status.Program, "by", status.How)
		case mode == bpf.Required:
			return fmt.Errorf("--bpf=required: %w", status.Err)
		default:
			a.log.Warn("an eBPF program does not do all that it could", "program", status.Program, "by", status.How,
				"costs", status.Without, "reason", status.Err)
		}
	}
	settings.Durations = a.durations
	if settings.Journal == nil { // why not was said
		return nil
	}
	if journal := a.resumeOrWarn(cfg.Paths.State, "durations", "durations", func(state []byte) error {
		settings.Held, err = sampling.LoadHeld(state)
		return err
	}); journal != nil {
		settings.HeldJournal = journal
	}
	return nil
}
