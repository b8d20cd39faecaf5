// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// takeOOMs tells the histories of the kills that are new. At the first look
// those of the last day are new only to histories that never heard of them,
// which a saved one has.
func (a *Advisor) takeOOMs(snap *snapshot.Snapshot) {
	newest := a.lastOOM
	for _, r := range snap.OOMRecords {
		if r.ID <= a.lastOOM {
			break // newest first
		}
		newest = max(newest, r.ID)
		if a.begun || snap.Taken.Sub(r.Time) < history.OOMKept {
			a.takeOOM(r, snap.Taken)
		}
	}
	a.lastOOM, a.begun = newest, true
}

func (a *Advisor) takeOOM(r *snapshot.OOMRecord, now time.Time) {
	victim, pod := a.byName(r)
	oom := history.OOM{At: r.Time, Scope: history.OOMElsewhere}
	switch r.Scope {
	case snapshot.ScopeContainer:
		oom.Scope = history.OOMContainer
	case snapshot.ScopePod:
		oom.Scope = history.OOMPod
		// The pod's limit is the sum of its containers': whoever used most over
		// its share is to get the raise, not who happened to be killed.
		if most := mostOverShare(pod); most != nil {
			victim = most
		}
	case snapshot.ScopeUnknown:
		return // nothing is known of what would have prevented it
	}
	series, limit := a.seriesOf(r, now), 0.0
	if victim != nil {
		series, limit, oom.UsedBytes = victim.series, victim.limit, victim.workingSet
		victim.due = time.Time{}
	}
	if r.Scope == snapshot.ScopeContainer && r.Limit != nil && r.Limit.Bytes.Known {
		limit = float64(r.Limit.Bytes.N)
	}
	if limit == 0 {
		limit = oom.UsedBytes
	}
	oom.LimitBytes = limit
	if series == nil || series.OOMs(now).Newest.At.Equal(r.Time) {
		return // no room for it, or it was told before a restart
	}
	if oom.Scope != history.OOMElsewhere && limit <= 0 {
		return
	}
	series.AddOOM(oom)
}

// byName returns the subject of a record's container, nil if there is none, and
// all of its pod.
func (a *Advisor) byName(r *snapshot.OOMRecord) (victim *subject, pod []*subject) {
	for _, s := range a.subjects {
		id := s.identity
		if s.series == nil || id.Namespace != r.Namespace || id.Pod != r.Pod {
			continue
		}
		pod = append(pod, s)
		if id.Name == r.Container {
			victim = s
		}
	}
	return victim, pod
}

// seriesOf returns the history of a container that may be gone by now.
func (a *Advisor) seriesOf(r *snapshot.OOMRecord, now time.Time) *history.Series {
	if r.Namespace == "" || r.Container == "" {
		return nil
	}
	return a.cfg.Store.Series(keyOf(&snapshot.ContainerIdentity{
		Namespace: r.Namespace, Pod: r.Pod, Name: r.Container, WorkloadKind: r.WorkloadKind, Workload: r.Workload,
	}), now)
}

// mostOverShare returns the container of a pod that used most of its own limit,
// nil if none has one.
func mostOverShare(pod []*subject) *subject {
	var most *subject
	for _, s := range pod {
		if s.limit > 0 && (most == nil || s.workingSet/s.limit > most.workingSet/most.limit) {
			most = s
		}
	}
	return most
}
