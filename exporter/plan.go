// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	dto "github.com/prometheus/client_model/go"
)

// plan holds the metric families of one level and, for each subject that was
// there at the last update, a row of metrics whose labels are made once. An
// update writes values only.
type plan struct {
	level      level
	labelNames []string
	families   []*dto.MetricFamily
	series     []plannedSeries
	// excluded matches the namespaces that are left out; nil matches none.
	excluded *regexp.Regexp

	rows  map[rowKey]*row
	order []*row
	pass  uint64
	// changed is true when this pass brought a row that order does not have.
	changed bool
	parts   []string
	subject subject
}

type plannedSeries struct {
	series
	family     int // index in plan.families
	kind       dto.MetricType
	labelNames []string
	// extra are the labels beyond the level's; nil when they are dynamic.
	extra []*dto.LabelPair
}

// row is one subject's metrics.
type row struct {
	key    rowKey
	labels []string         // of the level, as the snapshot has them
	clean  []string         // the same as they are exported
	base   []*dto.LabelPair // the same as pairs
	cells  []cell           // parallel to plan.series
	pass   uint64           // when it was last seen
	// hidden rows are kept to be recognised but not exported: excluded, or
	// with the labels of another one.
	excluded, duplicate bool
}

// cell is one metric of a row. Its metric is made when it first has a value.
type cell struct {
	metric  *dto.Metric
	value   *float64        // of the metric, nil in a histogram
	shown   *shownHistogram // of the metric, nil in others
	parts   []string        // what dynamic labels were made of
	present bool
}

// newPlan returns a plan for the families that selection leaves of level l, or
// nil when it leaves none.
func newPlan(l level, families []family, selection Selection) *plan {
	p := &plan{level: l, labelNames: l.labels(), excluded: selection.NamespacesExclude, rows: make(map[rowKey]*row)}
	for i := range families {
		f := &families[i]
		if f.level != l {
			continue
		}
		p.add(f, selection)
	}
	if len(p.families) == 0 {
		return nil
	}
	return p
}

func (p *plan) add(f *family, selection Selection) {
	first := len(p.series)
	for i := range f.series {
		if !selection.wants(f.name, f.series[i].detail) {
			continue
		}
		planned := plannedSeries{series: f.series[i], family: len(p.families), kind: f.kind, labelNames: f.labels}
		if planned.dynamic == nil {
			planned.extra = labelPairs(f.labels, planned.values)
		}
		p.series = append(p.series, planned)
	}
	if len(p.series) == first {
		return
	}
	mf := &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind}
	if unit := f.baseUnit(); unit != "" {
		mf.Unit = &unit
	}
	p.families = append(p.families, mf)
}

// update writes the values of s into the plan's families; nil is a snapshot
// with nothing in it. The families are valid until the next update.
func (p *plan) update(s *snapshot.Snapshot) {
	p.pass++
	p.changed = false
	if s != nil {
		p.visitAll(s)
	}
	p.subject = subject{}
	if !p.dropUnseen() && !p.changed {
		p.emit()
		return
	}
	p.reorder()
	p.emit()
	for _, mf := range p.families {
		// What lies behind the end belongs to rows that are gone.
		clear(mf.Metric[len(mf.Metric):cap(mf.Metric)])
	}
}

// visit writes the values of p.subject into its row. key stays the same as
// long as the subject's labels do; where it does not, the row is made anew.
func (p *plan) visit(key rowKey) {
	p.parts = p.level.appendLabels(p.parts[:0], &p.subject)
	r := p.rows[key]
	if r == nil || !slices.Equal(r.labels, p.parts) {
		if r != nil {
			r.pass = 0
		}
		r = p.newRow(key)
		p.rows[key] = r
		p.changed = true
	}
	if r.pass == p.pass {
		return
	}
	r.pass = p.pass
	if r.excluded {
		return
	}
	for i := range p.series {
		p.write(&p.series[i], r, &r.cells[i])
	}
}

func (p *plan) newRow(key rowKey) *row {
	r := &row{key: key, labels: slices.Clone(p.parts), clean: make([]string, len(p.parts))}
	for i, value := range r.labels {
		r.clean[i] = cleanLabelValue(value)
	}
	if p.excluded != nil && p.excluded.MatchString(p.subject.namespace()) && p.subject.namespace() != "" {
		r.excluded = true
		return r
	}
	r.base = joinPairs(labelPairs(p.labelNames, r.clean), nil)
	r.cells = make([]cell, len(p.series))
	return r
}

func (p *plan) write(s *plannedSeries, r *row, c *cell) {
	if s.histogram != nil {
		h := s.histogram(&p.subject)
		c.present = h != nil
		if c.present && c.shown == nil {
			c.shown = newHistogram()
			c.metric = &dto.Metric{Label: joinPairs(r.base, s.extra), Histogram: &c.shown.dto}
		}
		if c.present {
			c.shown.show(h)
		}
		return
	}
	value, ok := s.value(&p.subject)
	c.present = ok
	if !ok {
		return
	}
	if c.metric == nil {
		c.metric, c.value = newMetric(s.kind)
		if s.dynamic == nil {
			c.metric.Label = r.base
			if len(s.extra) > 0 {
				c.metric.Label = joinPairs(r.base, s.extra)
			}
		}
	}
	*c.value = value
	if s.dynamic == nil {
		return
	}
	p.parts = s.dynamic(&p.subject, p.parts[:0])
	if c.parts == nil || !slices.Equal(c.parts, p.parts) {
		c.parts = slices.Clone(p.parts)
		c.metric.Label = joinPairs(r.base, labelPairs(s.labelNames, s.render(c.parts)))
	}
}

// newMetric returns a metric of one value and where that value lies. Each is
// one allocation, as there are tens of thousands.
func newMetric(kind dto.MetricType) (*dto.Metric, *float64) {
	if kind == counter {
		m := &struct {
			metric  dto.Metric
			counter dto.Counter
			value   float64
		}{}
		m.metric.Counter, m.counter.Value = &m.counter, &m.value
		return &m.metric, &m.value
	}
	m := &struct {
		metric dto.Metric
		gauge  dto.Gauge
		value  float64
	}{}
	m.metric.Gauge, m.gauge.Value = &m.gauge, &m.value
	return &m.metric, &m.value
}

// dropUnseen forgets the rows that this pass did not visit and says whether
// there were any.
func (p *plan) dropUnseen() bool {
	before := len(p.order)
	p.order = slices.DeleteFunc(p.order, func(r *row) bool {
		if r.pass == p.pass {
			return false
		}
		if p.rows[r.key] == r {
			delete(p.rows, r.key)
		}
		return true
	})
	return len(p.order) != before
}

// reorder sorts the rows by their labels and hides all but the newest of
// those that have the same.
func (p *plan) reorder() {
	p.order = p.order[:0]
	for _, r := range p.rows {
		r.duplicate = false
		p.order = append(p.order, r)
	}
	slices.SortFunc(p.order, func(a, b *row) int {
		return cmp.Or(slices.Compare(a.clean, b.clean), cmp.Compare(b.key.series, a.key.series))
	})
	for i := 1; i < len(p.order); i++ {
		p.order[i].duplicate = slices.Equal(p.order[i].clean, p.order[i-1].clean)
	}
}

func (p *plan) emit() {
	for _, mf := range p.families {
		mf.Metric = mf.Metric[:0]
	}
	for _, r := range p.order {
		if r.excluded || r.duplicate {
			continue
		}
		for i := range r.cells {
			if r.cells[i].present {
				mf := p.families[p.series[i].family]
				mf.Metric = append(mf.Metric, r.cells[i].metric)
			}
		}
	}
}
