// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

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

const (
	defaultOOMs = 100
	maxOOMs     = 1000
)

// oomQuery is what a request asks for.
type oomQuery struct {
	limit          int
	namespace, pod string
	since          time.Time
}

// parseOOMQuery reads the parameters of a request. Its errors are for the one
// who sent it.
func parseOOMQuery(values url.Values, now time.Time) (oomQuery, error) {
	q := oomQuery{limit: defaultOOMs}
	for name, given := range values {
		if len(given) != 1 {
			return q, fmt.Errorf("%s is given %d times; give it once", name, len(given))
		}
		var err error
		switch value := given[0]; name {
		case "limit":
			q.limit, err = strconv.Atoi(value)
			if err != nil || q.limit < 1 || q.limit > maxOOMs {
				return q, fmt.Errorf("limit=%s: want a number from 1 to %d", value, maxOOMs)
			}
		case "namespace":
			q.namespace = value
		case "pod":
			q.pod = value
		case "since":
			if q.since, err = parseSince(value, now); err != nil {
				return q, err
			}
		default:
			return q, fmt.Errorf("there is no parameter %q; there are limit, namespace, pod and since", name)
		}
	}
	return q, nil
}

// parseSince takes a time or how long ago it was.
func parseSince(value string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	// In a URL a plus is a space, unless whoever wrote it knew.
	at, err := time.Parse(time.RFC3339, strings.ReplaceAll(value, " ", "+"))
	if err != nil {
		return time.Time{}, fmt.Errorf("since=%s: want a duration such as 1h30m, or a time such as 2026-01-31T12:00:00Z", value)
	}
	return at, nil
}

func (q *oomQuery) matches(r *snapshot.OOMRecord) bool {
	return (q.namespace == "" || r.Namespace == q.namespace) && (q.pod == "" || r.Pod == q.pod) && !r.Time.Before(q.since)
}

// serveOOMs answers with the records of OOM kills.
func (s *Server) serveOOMs(w http.ResponseWriter, r *http.Request) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "the query cannot be read: "+err.Error())
		return
	}
	q, err := parseOOMQuery(values, time.Now())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	var records []*snapshot.OOMRecord
	if !s.config.Store.View(func(snap *snapshot.Snapshot) { records = snap.OOMRecords }) {
		refuse(w, http.StatusServiceUnavailable, "the first sweep is not finished; try again in a second")
		return
	}
	list := OOMList{OOMs: []*snapshot.OOMRecord{}}
	for _, record := range records {
		if !q.matches(record) {
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
