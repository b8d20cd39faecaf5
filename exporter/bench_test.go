// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// busyNode returns a node of 110 pods with two containers each.
func busyNode() snapshot.Snapshot {
	s := fullSnapshot()
	s.Pods, s.Containers = nil, nil
	for i := range uint64(110) {
		pod := fmt.Sprintf("web-7c9f8d6b5-%05d", i)
		s.Pods = append(s.Pods, fullPod(i, "production", pod))
		s.Containers = append(s.Containers,
			fullContainer(2*i, "production", pod, "application"), fullContainer(2*i+1, "production", pod, "sidecar"))
	}
	for i := range s.Containers {
		// Few containers of a node have them, and in text the encoder allocates
		// for each of their buckets.
		c := &s.Containers[i]
		c.ThrottleDurations, c.StallsHigh, c.StallsLimit = nil, nil, nil
	}
	return s
}

func TestScrapeAllocatesPerFamilyNotPerSeries(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := NewSelfMetrics(registry, Build{}); err != nil {
		t.Fatal(err)
	}
	g := NewGatherer(storeOf(busyNode()), registry, Selection{})
	gather := func() {
		_, done, err := g.Gather()
		done()
		if err != nil {
			t.Fatal(err)
		}
	}
	scrapeOf := func(g prometheus.TransactionalGatherer) func() {
		handler, err := newScrapeHandler(g, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return func() { serveDiscarding(handler) }
	}
	own, cadvisor := NewGatherer(storeOf(busyNode()), nil, Selection{}), NewCadvisorGatherer(storeOf(busyNode()), Selection{})
	for name, test := range map[string]struct {
		run   func()
		bound float64
	}{
		"gather of 13,000 series": {func() { _, done, _ := own.Gather(); done() }, 10},
		"scrape of them":          {scrapeOf(own), 500},
		"gather of cAdvisor's":    {func() { _, done, _ := cadvisor.Gather(); done() }, 10},
		"scrape of cAdvisor's":    {scrapeOf(cadvisor), 500},
		// client_golang's go and process collectors take some 900.
		"gather with the agent's own metrics": {gather, 1200},
	} {
		if poolsForget && strings.HasPrefix(name, "scrape") {
			t.Logf("%s: not measured, as the race detector changes it", name)
			continue
		}
		test.run()
		if allocations := testing.AllocsPerRun(5, test.run); allocations > test.bound {
			t.Errorf("%s: %.0f allocations, want at most %.0f", name, allocations, test.bound)
		} else {
			t.Logf("%s: %.0f allocations", name, allocations)
		}
	}
}

// discardingWriter is an http.ResponseWriter that costs nothing.
type discardingWriter struct{ header http.Header }

func (w discardingWriter) Header() http.Header         { return w.header }
func (w discardingWriter) WriteHeader(int)             {}
func (w discardingWriter) Write(b []byte) (int, error) { return io.Discard.Write(b) }

func serveDiscarding(handler http.Handler) {
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	request.Header.Set("Accept", acceptPrometheus)
	handler.ServeHTTP(discardingWriter{make(http.Header)}, request)
}

// constCollector exports what a gatherer has in the usual way: a const metric
// for every series at every scrape.
type constCollector struct{ families []*dto.MetricFamily }

func (c constCollector) Describe(chan<- *prometheus.Desc) {}

func (c constCollector) Collect(ch chan<- prometheus.Metric) {
	for _, mf := range c.families {
		kind := prometheus.GaugeValue
		if mf.GetType() == counter {
			kind = prometheus.CounterValue
		}
		for _, m := range mf.Metric {
			names, values := make([]string, len(m.Label)), make([]string, len(m.Label))
			for i, l := range m.Label {
				names[i], values[i] = l.GetName(), l.GetValue()
			}
			desc := prometheus.NewDesc(mf.GetName(), mf.GetHelp(), names, nil)
			ch <- prometheus.MustNewConstMetric(desc, kind, m.GetCounter().GetValue()+m.GetGauge().GetValue(), values...)
		}
	}
}

// BenchmarkScrape compares a scrape of one and the same series through our
// handler with one through a collector of const metrics and promhttp.
func BenchmarkScrape(b *testing.B) {
	g := NewGatherer(storeOf(busyNode()), nil, Selection{})
	ours, err := newScrapeHandler(g, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	families, err := copying(g).Gather()
	if err != nil {
		b.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(constCollector{families})
	plain := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, OfferedCompressions: []promhttp.Compression{promhttp.Gzip},
	})
	for name, handler := range map[string]http.Handler{"cached": ours, "const": plain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serveDiscarding(handler)
			}
		})
	}
}

func BenchmarkGather(b *testing.B) {
	for name, g := range map[string]*Gatherer{
		"own": NewGatherer(storeOf(busyNode()), nil, Selection{}), "cadvisor": NewCadvisorGatherer(storeOf(busyNode()), Selection{}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, done, err := g.Gather()
				done()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
