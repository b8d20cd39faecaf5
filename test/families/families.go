// SPDX-License-Identifier: Apache-2.0

// Package families tells the tests of rules and dashboards which metric
// families there are, from the exporter's own table, and which ones a PromQL
// expression uses. It owns reading both. It must not know what an expression
// is for.
package families

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/exporter"
)

// Family is a metric family of /metrics.
type Family struct {
	Type   string // counter, gauge or histogram
	Labels []string
}

var (
	row    = regexp.MustCompile("^\\| `(slicewatch_[a-z0-9_]+)` \\| ([a-z]+) \\| [a-z]* \\| ([^|]*) \\|")
	quoted = regexp.MustCompile("`([a-z_]+)`")
)

// Built returns what the exporter's table has, by name.
func Built() (map[string]Family, error) {
	var reference bytes.Buffer
	if err := exporter.WriteReference(&reference); err != nil {
		return nil, err
	}
	all := map[string]Family{}
	var common []string
	for line := range strings.Lines(reference.String()) {
		switch {
		case strings.HasPrefix(line, "## "):
			common = nil
		case strings.HasPrefix(line, "Every series has the labels "):
			common = words(line)
		}
		if m := row.FindStringSubmatch(line); m != nil {
			all[m[1]] = Family{Type: m[2], Labels: slices.Concat(common, words(m[3]))}
		}
	}
	if len(all) < 50 {
		return nil, fmt.Errorf("read the metric reference: only %d families found in it", len(all))
	}
	return all, nil
}

func words(text string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// targetLabels are those that Prometheus puts on, or that it makes of
// histograms.
func targetLabels() []string { return []string{"node", "instance", "job", "le"} }

// foreign returns what agents export or Prometheus adds that is in no table of
// ours.
func foreign() []string {
	return []string{
		"up", "scrape_samples_scraped", "scrape_duration_seconds",
		"process_cpu_seconds_total", "process_resident_memory_bytes", "go_memstats_heap_inuse_bytes",
	}
}

// Check returns what is wrong with the metric names and labels of an
// expression, a line each. recorded are further names that there are.
func Check(known map[string]Family, recorded []string, expr string) []string {
	var wrong []string
	for _, s := range Selectors(expr) {
		if slices.Contains(foreign(), s.Name) || slices.Contains(recorded, s.Name) {
			continue
		}
		family, ok := known[s.Name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(s.Name, suffix); cut && !ok {
				family, ok = known[base]
				ok = ok && family.Type == "histogram"
			}
		}
		if !ok {
			wrong = append(wrong, fmt.Sprintf("there is no metric family %s", s.Name))
			continue
		}
		for _, label := range s.Labels {
			if !slices.Contains(family.Labels, label) && !slices.Contains(targetLabels(), label) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", s.Name, label))
			}
		}
	}
	return wrong
}

// Selector is a metric in an expression, with the labels it is selected by.
type Selector struct {
	Name   string
	Labels []string
}

var (
	text      = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	duration  = regexp.MustCompile(`\[[^]]*\]|offset\s+\S+`)
	labelList = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)`)
	name      = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(|\{[^}]*\})?`)
	matcher   = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*[=!]`)
)

// Selectors returns the metrics that a PromQL expression uses. It is no parser:
// Prometheus itself says whether the expression is right.
func Selectors(expr string) []Selector {
	expr = text.ReplaceAllString(expr, `""`)
	expr = labelList.ReplaceAllString(expr, "")
	expr = duration.ReplaceAllString(expr, " ")
	var all []Selector
	for _, m := range name.FindAllStringSubmatch(expr, -1) {
		if m[2] == "(" || slices.Contains([]string{"and", "or", "unless", "bool", "by", "on", "e", "inf", "NaN"}, m[1]) {
			continue
		}
		s := Selector{Name: m[1]}
		for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
			s.Labels = append(s.Labels, label[1])
		}
		all = append(all, s)
	}
	return all
}
