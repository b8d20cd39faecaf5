// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
)

// OOMQuery says which kills to ask for; what is empty does not restrict.
type OOMQuery struct {
	Limit          int
	Namespace, Pod string
	Since          string // a duration or a time in RFC 3339
}

// OOMs asks for the newest OOM kills.
func (c *Client) OOMs(ctx context.Context, q OOMQuery) (*exporter.OOMList, error) {
	query := url.Values{}
	for name, value := range map[string]string{"namespace": q.Namespace, "pod": q.Pod, "since": q.Since} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	var list exporter.OOMList
	if err := c.get(ctx, "/api/v1/ooms", query, &list); err != nil {
		return nil, err
	}
	return &list, nil
}

// The forms of output.
const (
	Table = "table"
	Wide  = "wide"
	JSON  = "json"
	YAML  = "yaml"
)

// Forms returns the forms of output, the default first.
func Forms() []string { return []string{Table, Wide, JSON, YAML} }

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
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := []string{"TIME", "NAMESPACE", "POD", "CONTAINER", "SCOPE", "LIMIT", "KILLED", "MEMORY BEFORE"}
	if form == Wide {
		columns = append(columns, "QOS", "RSS", "ADJ", "TRIGGER", "TOLD BY", "WHY")
	}
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, r := range list.OOMs {
		cells := oomCells(r)
		if form == Wide {
			cells = append(cells, oomWideCells(r)...)
		}
		for i, cell := range cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the OOM kills: %w", err)
	}
	if more := list.Matching - len(list.OOMs); more > 0 {
		fmt.Fprintf(w, "\n%d older ones are not shown; --limit shows more.\n", more)
	}
	return nil
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

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// amountInBytes spells bytes as Kubernetes does.
func amountInBytes(a snapshot.Amount) string {
	if !a.Known {
		return "-"
	}
	v, units := float64(a.N), []string{"", "Ki", "Mi", "Gi", "Ti"}
	i := 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + units[i]
}

// printable takes out of a name what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// writeYAML prints the JSON form of v as YAML.
func writeYAML(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print YAML: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil { // JSON is YAML
		return fmt.Errorf("print YAML: %w", err)
	}
	asBlocks(&document)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return fmt.Errorf("print YAML: %w", err)
	}
	return e.Close()
}

// asBlocks takes JSON's braces and quotes away.
func asBlocks(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, child := range n.Content {
		asBlocks(child)
	}
}
