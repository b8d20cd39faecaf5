// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// RecordQuery says which records to ask for, of kills or of lives; what is empty
// does not restrict.
type RecordQuery struct {
	Limit          int
	Namespace, Pod string
	Since          string // a duration or a time in RFC 3339
}

func (q RecordQuery) parameters() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"namespace": q.Namespace, "pod": q.Pod, "since": q.Since} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return query
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

// writeTable prints rows under the names of their columns.
func writeTable(w io.Writer, columns []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, cells := range rows {
		for i, cell := range cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// tellOfMore says that there are more records than were asked for.
func tellOfMore(w io.Writer, more int) error {
	if more <= 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%d older ones are not shown; --limit shows more.\n", more)
	return err
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
