// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// takeOOMs tells the histories of the kills that are new to them, in the order
// in which they happened.
func (a *Advisor) takeOOMs(snap *snapshot.Snapshot, now time.Time) {
	told := a.cfg.Store.Told()
	fresh := a.untold(snap.OOMRecords, told)
	a.takeNamed(snap.OOMRecords, now)
	for _, r := range fresh {
		switch {
		case !a.begun && now.Sub(r.Time) >= history.OOMKept:
		case r.Namespace == "":
			a.unnamed[r.ID] = true
		default:
			a.takeOOM(r, now)
		}
		told.ID = r.ID
		if r.Time.After(told.At) {
			told.At = r.Time
		}
	}
	a.begun = true
	if len(fresh) > 0 {
		a.cfg.Store.Tell(told)
		a.saveSoon()
	}
}

// takeNamed takes the records whose names came later than they did: of what is
// killed right at its start. There are no more of them than of records.
func (a *Advisor) takeNamed(records []*snapshot.OOMRecord, now time.Time) {
	if len(a.unnamed) == 0 {
		return
	}
	still := map[uint64]bool{}
	for _, r := range slices.Backward(records) {
		switch {
		case !a.unnamed[r.ID]:
		case r.Namespace == "":
			still[r.ID] = true
		default:
			a.takeOOM(r, now)
			a.saveSoon()
		}
	}
	a.unnamed = still
}

// untold returns the records that the histories do not know, oldest first. Those
// have the mark of the newest that they know, so that none counts twice over a
// restart, nor is left out.
func (a *Advisor) untold(records []*snapshot.OOMRecord, told history.Told) []*snapshot.OOMRecord {
	// Numbers begin anew with a state directory that was lost: then times tell.
	anew := told.ID == 0 || len(records) > 0 && records[0].ID < told.ID
	n := 0
	for n < len(records) && (anew && records[n].Time.After(told.At) || !anew && records[n].ID > told.ID) {
		n++
	}
	fresh := slices.Clone(records[:n]) // of a slice that is never written to
	slices.Reverse(fresh)
	return fresh
}

func (a *Advisor) takeOOM(r *snapshot.OOMRecord, now time.Time) {
	oom := history.OOM{At: r.Time, Scope: history.OOMElsewhere}
	var who suspect
	switch r.Scope {
	case snapshot.ScopeContainer:
		oom.Scope, who = history.OOMContainer, a.victim(r)
		if r.Limit != nil && r.Limit.Bytes.Known {
			who.limit = float64(r.Limit.Bytes.N)
		}
	case snapshot.ScopePod:
		oom.Scope, who = history.OOMPod, a.culprit(r)
	case snapshot.ScopeUnknown:
		return // nothing is known of what would have prevented it
	default:
		who = a.victim(r)
	}
	series := a.seriesOf(r, who, now)
	oom.UsedBytes, oom.LimitBytes = who.used, who.limit
	if oom.LimitBytes == 0 {
		oom.LimitBytes = oom.UsedBytes
	}
	if series == nil || oom.Scope != history.OOMElsewhere && oom.LimitBytes <= 0 {
		return // no room for it, or nothing to go by
	}
	series.AddOOM(oom)
	if who.subject != nil {
		who.subject.due = time.Time{}
	}
}

// seriesOf returns the history that a kill belongs to: of a container that may be
// gone by now.
func (a *Advisor) seriesOf(r *snapshot.OOMRecord, who suspect, now time.Time) *history.Series {
	if who.subject != nil {
		return who.subject.series
	}
	if r.Namespace == "" || r.Container == "" {
		return nil
	}
	return a.cfg.Store.Series(keyOf(&snapshot.ContainerIdentity{
		Namespace: r.Namespace, Pod: r.Pod, Name: r.Container, WorkloadKind: r.WorkloadKind, Workload: r.Workload,
	}), now)
}
