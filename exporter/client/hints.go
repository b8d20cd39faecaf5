// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// HintQuery says which hints to ask for; what is empty does not restrict.
type HintQuery struct{ Namespace, Pod, Workload string }

// Parameters returns the query as the API takes it.
func (q HintQuery) Parameters() map[string]string {
	set := map[string]string{"namespace": q.Namespace, "pod": q.Pod, "workload": q.Workload}
	maps.DeleteFunc(set, func(_, value string) bool { return value == "" })
	return set
}

// Hints asks for the containers' hints.
func (c *Client) Hints(ctx context.Context, q HintQuery) (*exporter.HintList, error) {
	query := url.Values{}
	for name, value := range q.Parameters() {
		query.Set(name, value)
	}
	var list exporter.HintList
	if err := c.get(ctx, "/api/v1/hints", query, &list); err != nil {
		return nil, err
	}
	return &list, nil
}

// The forms that hints have besides.
const (
	Patch = "patch"
	VPA   = "vpa"
)

// HintForms returns the forms of hints, the default first.
func HintForms() []string { return append(Forms(), Patch, VPA) }

// WriteHints prints hints in one of the forms. found is what is known of the
// cluster besides the hints' reasons; its zero value is nothing.
func WriteHints(w io.Writer, list *exporter.HintList, form string, found conflicts.Findings) error {
	slices.SortStableFunc(list.Hints, func(a, b exporter.ContainerHint) int {
		return slices.Compare([]string{a.Namespace, a.WorkloadKind, a.Workload, a.Pod, a.Container}, []string{b.Namespace, b.WorkloadKind, b.Workload, b.Pod, b.Container})
	})
	switch form {
	case JSON:
		return writeJSON(w, list)
	case YAML:
		return writeYAML(w, list)
	case Patch:
		return writePatches(w, list)
	case VPA:
		return writeVPAs(w, list, found)
	}
	if len(list.Hints) == 0 {
		_, err := fmt.Fprintln(w, "No hints: no container whose names are known runs there, or none of those asked for.")
		return err
	}
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	columns := []string{"NAMESPACE", "POD", "CONTAINER", "CPU REQUEST", "CPU LIMIT", "MEMORY REQUEST", "MEMORY LIMIT", "CONF"}
	if form != Wide {
		columns = append(columns, "WHY")
	}
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for i := range list.Hints {
		cells := hintCells(&list.Hints[i])
		if form != Wide {
			cells = append(cells, reasonCodes(&list.Hints[i]))
		}
		for i, cell := range cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the hints: %w", err)
	}
	text := table.String()
	if form == Wide {
		text = withSentences(text, list)
	}
	return printAll(w, text)
}

// withSentences puts the sentences of each hint below its line of the table.
func withSentences(table string, list *exporter.HintList) string {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n") {
		b.WriteString(line + "\n")
		if i == 0 {
			continue
		}
		for _, r := range list.Hints[i-1].Reasons {
			b.WriteString("    " + printable(r.Text) + "\n")
		}
	}
	return b.String()
}

func hintCells(h *exporter.ContainerHint) []string {
	limit := change(h.Now.CPULimitCores, h.Hint.CPULimitCores, conflicts.SpellCores)
	if h.NoCPULimit && h.Now.CPULimitCores != nil {
		limit = conflicts.SpellCores(*h.Now.CPULimitCores) + " -> none"
	}
	confidence := "-"
	if h.Published != nil {
		confidence = strconv.FormatFloat(h.Confidence, 'f', 2, 64)
	}
	if h.Urgent {
		confidence += " !"
	}
	return []string{
		dash(h.Namespace), dash(h.Pod), dash(h.Container),
		change(h.Now.CPURequestCores, h.Hint.CPURequestCores, conflicts.SpellCores), limit,
		change(h.Now.MemoryRequestBytes, h.Hint.MemoryRequestBytes, conflicts.SpellBytes),
		change(h.Now.MemoryLimitBytes, h.Hint.MemoryLimitBytes, conflicts.SpellBytes), confidence,
	}
}

// change spells what is and what should be.
func change(now, hint *float64, spell func(float64) string) string {
	is := "-"
	if now != nil {
		is = spell(*now)
	}
	if hint == nil {
		return is
	}
	if should := spell(*hint); should != is {
		return is + " -> " + should
	}
	return is
}

func reasonCodes(h *exporter.ContainerHint) string {
	var codes []string
	for _, r := range h.Reasons {
		if !slices.Contains(codes, r.Code) {
			codes = append(codes, r.Code)
		}
	}
	return dash(strings.Join(codes, ","))
}

// sidecar is the type of containers that stand in initContainers.
const sidecar = string(snapshot.SidecarContainer)
