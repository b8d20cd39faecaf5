// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/checkpoint"
	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/sampling"
)

// flightBounds bounds the flight recorder: 12 KB for each container, 12 MB at
// the most.
var flightBounds = flight.Config{Moments: 300, Containers: 1000, Retention: 2 * time.Minute}

// makeKills makes the account of OOM kills, with what an earlier agent left.
func (a *Agent) makeKills(dir string, settings sampling.Config) *oom.Keeper {
	kills := oom.Config{BootID: settings.BootID, Flight: a.flight, Names: a.names, Logger: a.log}
	var records, counts []byte
	if settings.Journal != nil { // else why not was said
		kills.Log, records = a.openKills(dir, "oom-records")
		kills.Counts, counts = a.openKills(dir, "oom-counts")
	}
	keeper := oom.New(kills)
	if records != nil {
		a.loadKills(kills.Log, keeper.LoadRecords(records))
	}
	if counts != nil {
		a.loadKills(kills.Counts, keeper.LoadCounts(counts, time.Now()))
	}
	return keeper
}

// openKills opens a journal. What cannot be kept is no reason not to run.
func (a *Agent) openKills(dir, name string) (oom.Journal, []byte) {
	journal, left, err := checkpoint.OpenJournal(dir, name, a.log)
	if err != nil {
		a.log.Warn("OOM kills will not survive a restart of the agent", "reason", err)
		return nil, nil
	}
	a.journals = append(a.journals, journal)
	return journal, left
}

// loadKills sets aside what could not be loaded.
func (a *Agent) loadKills(from oom.Journal, failed error) {
	journal, ok := from.(*checkpoint.Journal)
	if failed == nil || !ok {
		return
	}
	if err := journal.Reject(failed, a.log); err != nil {
		a.log.Warn("OOM kills will not survive a restart of the agent", "reason", err)
	}
}
