// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"net/http"
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// LifeList is what /api/v1/lives answers with.
type LifeList struct {
	// Time is when the sweep began that the list is of.
	Time time.Time `json:"time"`
	// Lives are the newest that were asked for, the newest start first.
	Lives []Life `json:"lives"`
	// Matching is how many the filters let through, of which Lives has at most as
	// many as the limit says.
	Matching int `json:"matching"`
}

// Life is one start of a container and what came of it. What is not known is
// left out.
type Life struct {
	Namespace   string    `json:"namespace"`
	Pod         string    `json:"pod"`
	Container   string    `json:"container"`
	QoS         string    `json:"qos"`
	PodUID      string    `json:"podUID,omitempty"`
	ContainerID string    `json:"containerID,omitempty"`
	CgroupID    uint64    `json:"cgroupID,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	Ended       time.Time `json:"ended,omitzero"`
	// End is one of snapshot's.
	End              snapshot.LifeEnd `json:"end"`
	CPUSeconds       *float64         `json:"cpuSeconds,omitempty"`
	ThrottledSeconds *float64         `json:"throttledSeconds,omitempty"`
	MemoryPeakBytes  snapshot.Amount  `json:"memoryPeakBytes,omitzero"`
	MemoryLimitBytes snapshot.Amount  `json:"memoryLimitBytes,omitzero"`
}

// maxLives is how many lives one answer may have.
const maxLives = 10_000

// serveLives answers with the lives of containers, of those that run the present
// one.
func (s *Server) serveLives(w http.ResponseWriter, r *http.Request) {
	q, ok := recordsAsked(w, r, maxLives)
	if !ok {
		return
	}
	list := LifeList{Lives: []Life{}}
	var found []*snapshot.Life
	if !s.config.Store.View(func(snap *snapshot.Snapshot) {
		list.Time = snap.Taken.UTC()
		found = livesAsked(snap, &q)
	}) {
		refuse(w, http.StatusServiceUnavailable, "the first sweep is not finished; try again in a second")
		return
	}
	slices.SortStableFunc(found, func(a, b *snapshot.Life) int { return b.Since().Compare(a.Since()) })
	list.Matching = len(found)
	for _, l := range found[:min(len(found), q.limit)] {
		list.Lives = append(list.Lives, asLife(l))
	}
	answerJSON(w, http.StatusOK, list)
}

func livesAsked(snap *snapshot.Snapshot, q *recordQuery) []*snapshot.Life {
	var found []*snapshot.Life
	for i := range snap.Containers {
		// What runs is of the present, whenever since is.
		if l, ok := snap.Containers[i].PresentLife(); ok && q.matches(l.Namespace, l.Pod, q.since) {
			found = append(found, &l)
		}
	}
	for _, l := range snap.Lives {
		at := l.Ended
		if at.IsZero() {
			at = l.Started
		}
		if q.matches(l.Namespace, l.Pod, at) {
			found = append(found, l)
		}
	}
	return found
}

func asLife(l *snapshot.Life) Life {
	out := Life{
		Namespace: l.Namespace, Pod: l.Pod, Container: l.Container, QoS: l.QoS.String(),
		PodUID: l.PodUID, ContainerID: l.ContainerID, CgroupID: l.CgroupID, Ended: l.Ended, End: l.End,
		CPUSeconds: seconds(l.CPUMicros), ThrottledSeconds: seconds(l.ThrottledMicros),
		MemoryPeakBytes: l.MemoryPeakBytes, MemoryLimitBytes: l.MemoryLimitBytes,
	}
	if !l.Started.IsZero() {
		out.Started = l.Started.UTC().Truncate(time.Millisecond)
	}
	return out
}

func seconds(micros snapshot.Amount) *float64 {
	return pointer(snapshot.Quantity{V: float64(micros.N) / 1e6, Known: micros.Known})
}
