// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// defaultRecords is how many records an answer has when nobody says how many.
const defaultRecords = 100

// recordQuery is which records a request asks for, of kills or of lives.
type recordQuery struct {
	limit          int
	namespace, pod string
	since          time.Time
}

// recordsAsked returns what a request asks for, of at most so many records. It has
// answered one that is wrong, and then returns false.
func recordsAsked(w http.ResponseWriter, r *http.Request, most int) (recordQuery, bool) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "the query cannot be read: "+err.Error())
		return recordQuery{}, false
	}
	q, err := parseRecordQuery(values, most, time.Now())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return recordQuery{}, false
	}
	return q, true
}

// parseRecordQuery reads the parameters of a request. Its errors are for the one
// who sent it.
func parseRecordQuery(values url.Values, most int, now time.Time) (recordQuery, error) {
	q := recordQuery{limit: defaultRecords}
	for name, given := range values {
		if len(given) != 1 {
			return q, fmt.Errorf("%s is given %d times; give it once", name, len(given))
		}
		var err error
		switch value := given[0]; name {
		case "limit":
			q.limit, err = strconv.Atoi(value)
			if err != nil || q.limit < 1 || q.limit > most {
				return q, fmt.Errorf("limit=%s: want a number from 1 to %d", value, most)
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

// matches says whether a record of that time is asked for.
func (q *recordQuery) matches(namespace, pod string, at time.Time) bool {
	return (q.namespace == "" || namespace == q.namespace) && (q.pod == "" || pod == q.pod) && !at.Before(q.since)
}
