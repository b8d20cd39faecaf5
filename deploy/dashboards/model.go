// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"strings"
)

// Dashboard is one page.
type Dashboard struct {
	// UID is unique among all of Grafana's dashboards and part of their links.
	UID         string
	Title       string
	Description string
	Variables   []Variable
	Rows        []Row
}

// File returns the name of the dashboard's file.
func (d Dashboard) File() string { return d.UID + ".json" }

// Panels returns the panels of all rows.
func (d Dashboard) Panels() []Panel {
	var all []Panel
	for _, row := range d.Rows {
		all = append(all, row.Panels...)
	}
	return all
}

// Variable is something that the reader chooses at the top of the page.
type Variable struct {
	Name, Label string
	// Query is what gives the values, label_values(...); empty is the choice
	// of the data source.
	Query string
	// Several allows more than one value, All also all of them at once.
	Several, All bool
}

// Row is a heading with panels below it.
type Row struct {
	Title  string
	Panels []Panel
}

// Kind says how a panel shows its series.
type Kind string

// The kinds, as Grafana's panel types are named.
const (
	Lines    Kind = "timeseries"
	Number   Kind = "stat"
	Table    Kind = "table"
	Heatmap  Kind = "heatmap"
	Timeline Kind = "state-timeline"
)

// Panel is one picture or table.
type Panel struct {
	Title, Description string
	Kind               Kind
	Unit               string
	// Width of 24 columns; 0 is 8. Height in rows of 30 pixels; 0 is 8.
	Width, Height int
	Queries       []Query
	// Stacked puts one series on top of the other.
	Stacked bool
	// Max is the upper end of the axis; 0 leaves it to the data.
	Max float64
	// Warn and Bad are where a value becomes yellow and red; 0 is nowhere.
	Warn, Bad float64
	// Columns of a table: each label or query, in order.
	Columns []Column
	// Order is the column that a table is sorted by.
	Order Sorting
}

// Sorting is by a column's title.
type Sorting struct {
	Title      string
	Descending bool
}

// Column is a column of a table.
type Column struct {
	// From is a label's name or, for a value, the query's Ref.
	From  string
	Title string
	Unit  string
	// Warn and Bad as in Panel.
	Warn, Bad float64
	// Link is a link on each cell, with ${__data.fields.<title>} for the row's
	// values.
	Link string
}

// Query is one PromQL expression with variables, $name.
type Query struct {
	Expr string
	// Legend names a series, with {{label}}.
	Legend string
	// Ref names the query within its panel. Empty: A, B, C...
	Ref string
}

// Expand puts values in for the variables of an expression.
func Expand(expr string, values map[string]string) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "$"+name, value)
	}
	return strings.NewReplacer(pairs...).Replace(expr)
}

// All returns the dashboards.
func All() []Dashboard {
	return []Dashboard{nodes(), container(), oom(), rightSizing(), agentCost()}
}
