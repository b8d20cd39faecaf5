// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// OOMList is what /api/v1/ooms answers with.
type OOMList struct {
	// OOMs are the newest kills that were asked for, newest first.
	OOMs []*snapshot.OOMRecord `json:"ooms"`
	// Matching is how many kills the filters let through, of which OOMs has at
	// most as many as the limit says.
	Matching int `json:"matching"`
}

// maxOOMs is how many kills one answer may have.
const maxOOMs = 1000

// serveOOMs answers with the records of OOM kills.
func (s *Server) serveOOMs(w http.ResponseWriter, r *http.Request) {
	q, ok := recordsAsked(w, r, maxOOMs)
	if !ok {
		return
	}
	var records []*snapshot.OOMRecord
	if !s.config.Store.View(func(snap *snapshot.Snapshot) { records = snap.OOMRecords }) {
		refuse(w, http.StatusServiceUnavailable, "the first sweep is not finished; try again in a second")
		return
	}
	list := OOMList{OOMs: []*snapshot.OOMRecord{}}
	for _, record := range records {
		if !q.matches(record.Namespace, record.Pod, record.Time) {
			continue
		}
		if list.Matching++; list.Matching <= q.limit {
			list.OOMs = append(list.OOMs, record)
		}
	}
	// Times of kills can be out of order where the files tell them late.
	slices.SortStableFunc(list.OOMs, func(a, b *snapshot.OOMRecord) int { return b.Time.Compare(a.Time) })
	answerJSON(w, http.StatusOK, list)
}

// apiError is the answer of the API to what it cannot do.
type apiError struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answerJSON(w, status, apiError{reason})
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error here is the client's going away.
	_ = json.NewEncoder(w).Encode(body)
}
