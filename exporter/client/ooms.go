// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
)

// OOMs asks for the newest OOM kills.
func (c *Client) OOMs(ctx context.Context, q RecordQuery) (*exporter.OOMList, error) {
	var list exporter.OOMList
	if err := c.get(ctx, "/api/v1/ooms", q.parameters(), &list); err != nil {
		return nil, err
	}
	return &list, nil
}

// WriteOOMs prints kills in one of the forms.
func WriteOOMs(w io.Writer, list *exporter.OOMList, form string) error {
	switch form {
	case JSON:
		return writeJSON(w, list)
	case YAML:
		return writeYAML(w, list)
	}
	if len(list.OOMs) == 0 {
		_, err := fmt.Fprintln(w, "No OOM kills.")
		return err
	}
	columns := []string{"TIME", "NAMESPACE", "POD", "CONTAINER", "SCOPE", "LIMIT", "KILLED", "MEMORY BEFORE"}
	if form == Wide {
		columns = append(columns, "QOS", "RSS", "ADJ", "TRIGGER", "TOLD BY", "WHY")
	}
	var rows [][]string
	for _, r := range list.OOMs {
		cells := oomCells(r)
		if form == Wide {
			cells = append(cells, oomWideCells(r)...)
		}
		rows = append(rows, cells)
	}
	if err := writeTable(w, columns, rows); err != nil {
		return fmt.Errorf("print the OOM kills: %w", err)
	}
	return tellOfMore(w, list.Matching-len(rows))
}

func oomCells(r *snapshot.OOMRecord) []string {
	killed := fmt.Sprintf("%d processes", r.Processes)
	switch {
	case len(r.Victims) == 0 && r.Processes == 1:
		killed = "1 process"
	case len(r.Victims) > 0:
		killed = fmt.Sprintf("%s (%d)", r.Victims[0].Command, r.Victims[0].PID)
		if r.Processes > 1 {
			killed += fmt.Sprintf(" +%d", r.Processes-1)
		}
	}
	limit := "-"
	if r.Limit != nil {
		limit = amountInBytes(r.Limit.Bytes)
	}
	return []string{
		r.Time.UTC().Format(time.RFC3339), dash(r.Namespace), dash(r.Pod), dash(r.Container), r.Scope.String(), limit, killed,
		sparkline(r.Before, r.Limit),
	}
}

func oomWideCells(r *snapshot.OOMRecord) []string {
	rss, adj, trigger := "-", "-", "-"
	if len(r.Victims) > 0 {
		var bytes uint64
		for _, v := range r.Victims {
			bytes += v.AnonBytes + v.FileBytes + v.ShmemBytes
		}
		rss, adj = amountInBytes(snapshot.Amount{N: int64(bytes), Known: true}), strconv.Itoa(r.Victims[0].OOMScoreAdj)
	}
	if r.Trigger != nil {
		trigger = fmt.Sprintf("%s (%d)", r.Trigger.Command, r.Trigger.PID)
	}
	return []string{dash(r.QoS), rss, adj, trigger, r.Source, r.Message}
}

// sparkColumns is how wide a picture of a minute is.
const sparkColumns = 20

// sparkline draws the container's memory in the minute before a kill, as a share
// of the limit or, without one, of the most that it was, and says what it was last.
func sparkline(before []snapshot.Moment, limit *snapshot.OOMLimit) string {
	var values []float64
	for i := range before {
		if a := before[i].MemoryBytes; a.Known {
			values = append(values, float64(a.N))
		}
	}
	if len(values) == 0 {
		return "-"
	}
	highest := values[0]
	for _, v := range values {
		highest = max(highest, v)
	}
	if limit != nil && limit.Bytes.Known {
		highest = max(highest, float64(limit.Bytes.N))
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	columns := min(sparkColumns, len(values))
	for i := range columns {
		top := 0.0
		for _, v := range values[i*len(values)/columns : (i+1)*len(values)/columns] {
			top = max(top, v)
		}
		level := 0
		if highest > 0 {
			level = min(int(top/highest*float64(len(levels))), len(levels)-1)
		}
		b.WriteRune(levels[level])
	}
	return b.String() + " " + amountInBytes(snapshot.Amount{N: int64(values[len(values)-1]), Known: true})
}
