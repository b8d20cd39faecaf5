// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape is one answer of /metrics.
type scrape struct {
	families map[string]*dto.MetricFamily
	took     time.Duration
}

func scrapeMetrics(ctx context.Context, url string) (scrape, error) {
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return scrape{}, fmt.Errorf("scrape %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return scrape{}, fmt.Errorf("scrape: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return scrape{}, fmt.Errorf("scrape %s: the agent answered %s", url, response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return scrape{}, fmt.Errorf("scrape %s: %w", url, err)
	}
	return scrape{families: families, took: time.Since(began)}, nil
}

// sum adds up the series of a family that have these labels (name, value, name,
// value...); n says how many they are.
func (s scrape) sum(family string, labels ...string) (total float64, n int) {
	for _, m := range s.families[family].GetMetric() {
		if !hasLabels(m, labels) {
			continue
		}
		n++
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return total, n
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, pair := range m.GetLabel() {
			found = found || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// containers returns how many containers the answer has.
func (s scrape) containers() int {
	_, n := s.sum("slicewatch_container_memory_usage_bytes")
	return n
}

// oomKills returns the kills so far; where the agent cannot tell kills apart,
// how often the kernel ran out of memory below kubepods.
func (s scrape) oomKills() float64 {
	if kills, n := s.sum("slicewatch_oom_kills_total"); n > 0 {
		return kills
	}
	ooms, _ := s.sum("slicewatch_kubepods_memory_events_total", "event", "oom", "scope", "hierarchical")
	return ooms
}

// status says in one line what the agent sees, and what it costs itself.
func status(before, now scrape, between time.Duration, apiPod string) string {
	rate := func(family string, labels ...string) float64 {
		a, _ := before.sum(family, labels...)
		b, _ := now.sum(family, labels...)
		return (b - a) / between.Seconds()
	}
	periods := rate("slicewatch_container_cpu_periods_total", "pod", apiPod)
	throttled := rate("slicewatch_container_cpu_throttled_periods_total", "pod", apiPod)
	share := 0.0
	if periods > 0 {
		share = 100 * throttled / periods
	}
	rss, _ := now.sum("process_resident_memory_bytes")
	return fmt.Sprintf("%d containers | API throttled in %.0f %% of its periods | OOM kills %.0f | memory stalls %.0f ms/s | agent: CPU %.1f %% of an emulated core, RSS %.0f MiB, scrape %v",
		now.containers(), share, now.oomKills(),
		1000*rate("slicewatch_kubepods_memory_pressure_seconds_total", "kind", "some"),
		100*rate("process_cpu_seconds_total"), rss/(1<<20), now.took.Round(time.Millisecond))
}
