// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// The names of the families that registryFamilies describes.
const (
	nameBuildInfo      = "slicewatch_build_info"
	nameSweepDuration  = "slicewatch_sweep_duration_seconds"
	nameSweepErrors    = "slicewatch_sweep_errors_total"
	nameEventsLost     = "slicewatch_events_lost_total"
	nameScrapesRefused = "slicewatch_scrapes_refused_total"
	nameConnsRefused   = "slicewatch_connections_refused_total"
	nameDecisions      = "slicewatch_access_decisions_total"
	nameReviews        = "slicewatch_access_reviews_total"
)

// Build says which build of the agent runs.
type Build struct {
	Version  string
	Revision string
}

// SelfMetrics are the agent's metrics about itself that no snapshot carries.
// Its methods may be called from several goroutines.
type SelfMetrics struct {
	sweepDuration  *prometheus.HistogramVec
	sweepErrors    *prometheus.CounterVec
	eventsLost     *prometheus.CounterVec
	scrapesRefused prometheus.Counter
	connsRefused   prometheus.Counter
	decisions      *prometheus.CounterVec
	reviews        *prometheus.CounterVec
}

// NewSelfMetrics registers the agent's own metrics, its build, and
// client_golang's go_* and process_* collectors on registerer. It fails when
// one of them is registered already.
func NewSelfMetrics(registerer prometheus.Registerer, build Build) (*SelfMetrics, error) {
	about := make(map[string]family)
	for _, f := range registryFamilies() {
		about[f.name] = f
	}
	counterOpts := func(name string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: name, Help: about[name].help}
	}
	duration := about[nameSweepDuration]
	m := &SelfMetrics{
		sweepDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: duration.name, Help: duration.help, Unit: duration.baseUnit(),
			Buckets:                         []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, duration.labels),
		sweepErrors:    prometheus.NewCounterVec(counterOpts(nameSweepErrors), about[nameSweepErrors].labels),
		eventsLost:     prometheus.NewCounterVec(counterOpts(nameEventsLost), about[nameEventsLost].labels),
		scrapesRefused: prometheus.NewCounter(counterOpts(nameScrapesRefused)),
		connsRefused:   prometheus.NewCounter(counterOpts(nameConnsRefused)),
		decisions:      prometheus.NewCounterVec(counterOpts(nameDecisions), about[nameDecisions].labels),
		reviews:        prometheus.NewCounterVec(counterOpts(nameReviews), about[nameReviews].labels),
	}
	buildInfo := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: nameBuildInfo, Help: about[nameBuildInfo].help},
		about[nameBuildInfo].labels)
	buildInfo.WithLabelValues(build.Version, build.Revision, runtime.Version(), runtime.GOARCH).Set(1)
	for _, c := range []prometheus.Collector{
		m.sweepDuration, m.sweepErrors, m.eventsLost, m.scrapesRefused, m.connsRefused, m.decisions, m.reviews, buildInfo,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the agent's own metrics: %w", err)
		}
	}
	return m, nil
}

// SweepDone records how long a sweep took. reader is "files" or "bpf".
func (m *SelfMetrics) SweepDone(reader string, took time.Duration) {
	m.sweepDuration.WithLabelValues(reader).Observe(took.Seconds())
}

// SweepErrors adds n failed reads. reason must come from a closed list, as
// each one is a series for good.
func (m *SelfMetrics) SweepErrors(reason string, n int) {
	m.sweepErrors.WithLabelValues(reason).Add(float64(n))
}

// EventsLost adds n lost events. source is one of slicewatch_source_up's.
func (m *SelfMetrics) EventsLost(source string, n int) {
	m.eventsLost.WithLabelValues(source).Add(float64(n))
}

// AccessDecided adds n requests that were let through or not; 0 makes the
// series begin. decision must come from a closed list, as each one is a series
// for good.
func (m *SelfMetrics) AccessDecided(decision string, n int) {
	m.decisions.WithLabelValues(decision).Add(float64(n))
}

// AccessReviewed counts a question to the API server. review is "token" or
// "access".
func (m *SelfMetrics) AccessReviewed(review string) { m.reviews.WithLabelValues(review).Inc() }

func (m *SelfMetrics) connectionRefused() { m.connsRefused.Inc() }

func (m *SelfMetrics) scrapeRefused() { m.scrapesRefused.Inc() }
