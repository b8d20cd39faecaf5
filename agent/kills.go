// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/history/flight"
	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/sampling"
)

// flightBounds bounds the flight recorder: 12 KB for each container, 12 MB at
// the most.
var flightBounds = flight.Config{Moments: 300, Containers: 1000, Retention: 2 * time.Minute}

// makeKills makes the account of OOM kills, with what an earlier agent left.
func (a *Agent) makeKills(dir string, settings sampling.Config) *oom.Keeper {
	keeper := oom.New(oom.Config{BootID: settings.BootID, Flight: a.flight, Names: a.names, Logger: a.log})
	if settings.Journal == nil { // why not was said
		return keeper
	}
	var counts, records oom.Journal // no typed nil in them
	const what = "OOM kills"
	if journal := a.resumeOrWarn(dir, "oom-records", what, keeper.LoadRecords); journal != nil {
		records = journal
	}
	if journal := a.resumeOrWarn(dir, "oom-counts", what, func(state []byte) error {
		return keeper.LoadCounts(state, time.Now())
	}); journal != nil {
		counts = journal
	}
	keeper.KeepIn(counts, records)
	return keeper
}
