// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Selection says which series are exported. The regular expressions must
// match whole names; nil matches none.
type Selection struct {
	// DetailAll exports every family instead of the default ones.
	DetailAll bool
	// Include adds families to the default ones.
	Include *regexp.Regexp
	// Exclude takes families away, whatever else asks for them.
	Exclude *regexp.Regexp
	// NamespacesExclude leaves out pods and their containers.
	NamespacesExclude *regexp.Regexp
}

// wants says whether a series of the family is exported.
func (s Selection) wants(name string, detail bool) bool {
	if s.Exclude != nil && s.Exclude.MatchString(name) {
		return false
	}
	return !detail || s.DetailAll || s.Include != nil && s.Include.MatchString(name)
}

// Gatherer is a prometheus.TransactionalGatherer that shows the newest
// snapshot. Metrics and their labels are kept from one call to the next, so
// that a call in steady state allocates for its families, not for its series.
type Gatherer struct {
	store    *snapshot.Store
	self     prometheus.Gatherer
	exclude  *regexp.Regexp
	plans    []*plan
	families []*dto.MetricFamily // of all plans, by name

	// mu is held from Gather to done: the next call writes to what this one
	// returned.
	mu  sync.Mutex
	out []*dto.MetricFamily
}

var _ prometheus.TransactionalGatherer = (*Gatherer)(nil)

// NewGatherer returns what gathers slicewatch's own families from store and
// those that self has. self may be nil.
func NewGatherer(store *snapshot.Store, self prometheus.Gatherer, selection Selection) *Gatherer {
	return newGatherer(store, self, selection, snapshotFamilies())
}

// NewCadvisorGatherer returns what gathers the same cgroups under cAdvisor's
// names. These have no detail: of selection only the exclusions count.
func NewCadvisorGatherer(store *snapshot.Store, selection Selection) *Gatherer {
	return newGatherer(store, nil, selection, cadvisorFamilies())
}

// snapshotFamilies returns all families that come from snapshots.
func snapshotFamilies() []family {
	return slices.Concat(containerFamilies(), podFamilies(), measureFamilies(), oomFamilies(), hintFamilies(), nodeFamilies())
}

func newGatherer(store *snapshot.Store, self prometheus.Gatherer, selection Selection, table []family) *Gatherer {
	g := &Gatherer{store: store, self: self, exclude: selection.Exclude}
	for l := levelContainer; l <= levelHint; l++ {
		p := newPlan(l, table, selection)
		if p == nil {
			continue
		}
		g.plans = append(g.plans, p)
		g.families = append(g.families, p.families...)
	}
	slices.SortFunc(g.families, byName)
	return g
}

func byName(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }

// Gather returns the families of the newest snapshot, sorted by name, and of
// the registry. They may be read until done is called, which must happen
// once; until then another call waits. Before the first snapshot there are
// only the registry's.
func (g *Gatherer) Gather() ([]*dto.MetricFamily, func(), error) {
	var own []*dto.MetricFamily
	var err error
	if g.self != nil {
		own, err = g.self.Gather()
	}
	g.mu.Lock()
	current, release := g.store.Acquire()
	for _, p := range g.plans {
		p.update(current)
	}
	release()
	g.merge(own)
	return g.out, g.mu.Unlock, err
}

// merge writes the plans' families and own, both sorted by name, to g.out.
func (g *Gatherer) merge(own []*dto.MetricFamily) {
	clear(g.out)
	g.out = g.out[:0]
	for _, mf := range g.families {
		if len(mf.Metric) == 0 {
			continue
		}
		for len(own) > 0 && strings.Compare(own[0].GetName(), mf.GetName()) < 0 {
			own = g.appendOwn(own)
		}
		g.out = append(g.out, mf)
	}
	for len(own) > 0 {
		own = g.appendOwn(own)
	}
}

func (g *Gatherer) appendOwn(own []*dto.MetricFamily) []*dto.MetricFamily {
	if g.exclude == nil || !g.exclude.MatchString(own[0].GetName()) {
		g.out = append(g.out, own[0])
	}
	return own[1:]
}
