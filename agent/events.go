// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"

	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/sampling"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/events"
)

// tryEvents tries the programs that tell events.
func tryEvents() []bpf.Status {
	r, err := events.Open(events.Config{})
	if err != nil {
		return events.Down(err)
	}
	all := r.Status()
	if err := r.Close(); err != nil {
		all[0].Err = errors.Join(all[0].Err, err)
	}
	return all
}

// openEvents loads the programs that tell births, deaths and OOM kills, and
// makes the latter go to the account of kills. Where eBPF is required, what
// keeps one of them away is an error.
func (a *Agent) openEvents(cfg config.Config, settings *sampling.Config, kills *oom.Keeper) error {
	mode := bpf.Mode(cfg.BPF)
	if mode == bpf.Off || a.recording {
		return nil
	}
	reader, err := events.Open(events.Config{})
	if err != nil {
		settings.EventsStatus = events.Down(err)
	} else {
		a.events = reader
		settings.Events, settings.EventsStatus = reader, reader.Status()
		settings.KillSink = killSink{kills}
	}
	for _, status := range settings.EventsStatus {
		if status.Err != nil && mode == bpf.Required {
			return fmt.Errorf("--bpf=required: %w", status.Err)
		}
		if status.Err != nil {
			a.log.Warn("an eBPF program does not tell all that it could", "program", status.Program, "reason", status.Err, "costs", status.Without)
		}
		if status.Program == events.OOM {
			kills.SetEvents(status.Up())
		}
	}
	return nil
}

// killSink hands kills to their account.
type killSink struct{ keeper *oom.Keeper }

func (s killSink) Lost(kills uint64) { s.keeper.Lost(kills) }

func (s killSink) Killed(k *events.Kill) {
	s.keeper.Kill(oom.Kill{
		Time: k.Time, Incident: k.Incident, PID: k.PID, Command: k.Command,
		Victim: oom.Place(k.Victim), Limit: oom.Place(k.Limit), LimitKnown: k.LimitKnown, Global: k.Global,
		LimitBytes: k.LimitBytes, UsageBytes: k.UsageBytes,
		TriggerPID: k.TriggerPID, TriggerCommand: k.TriggerCommand,
		AnonBytes: k.AnonBytes, FileBytes: k.FileBytes, ShmemBytes: k.ShmemBytes, SwapBytes: k.SwapBytes,
		OOMScoreAdj: k.OOMScoreAdj, Group: k.Group,
	})
}
