// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/test/bench/benchresult"
)

// compareScrapes serves the same series, with what the cgroups say now, our way
// and the usual way.
func compareScrapes(cgroups []*cgroupfs.Cgroup, result *benchresult.Result) error {
	store, err := fillStore(cgroups)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	self, err := exporter.NewSelfMetrics(registry, exporter.Build{})
	if err != nil {
		return err
	}
	server, err := exporter.NewServer(exporter.ServerConfig{
		Store: store, Self: self, Registry: registry, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	for _, page := range []struct {
		path     string
		gatherer *exporter.Gatherer
		rows     *[]benchresult.Row
		series   *int
	}{
		{"/metrics", exporter.NewGatherer(store, nil, exporter.Selection{}), &result.Scrapes, &result.ScrapeSeries},
		{"/metrics/cadvisor", exporter.NewCadvisorGatherer(store, exporter.Selection{}), &result.Cadvisor, &result.CadvisorSeries},
	} {
		samples := samplesOf(page.gatherer)
		*page.series = len(samples)
		plain, err := plainHandler(samples, page.path == "/metrics")
		if err != nil {
			return err
		}
		*page.rows, err = measureAll([]contender{
			{"slicewatch, gzip", 20, func() error { return scrape(server.Handler(), page.path, "gzip") }},
			{"slicewatch, not compressed", 20, func() error { return scrape(server.Handler(), page.path, "") }},
			{benchresult.PlainScrape, 5, func() error { return scrape(plain, page.path, "gzip") }},
			{"const metrics, promhttp, not compressed", 5, func() error { return scrape(plain, page.path, "") }},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scrape answers one request, to nobody.
func scrape(handler http.Handler, path, encoding string) error {
	request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	if encoding != "" {
		request.Header.Set("Accept-Encoding", encoding)
	}
	to := &discard{header: http.Header{}}
	handler.ServeHTTP(to, request)
	if to.bytes == 0 {
		return errors.New("an empty answer")
	}
	return nil
}

// discard is an http.ResponseWriter that counts.
type discard struct {
	header http.Header
	bytes  int
}

// Header implements http.ResponseWriter.
func (w *discard) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *discard) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (w *discard) Write(p []byte) (int, error) {
	w.bytes += len(p)
	return len(p), nil
}

// fillStore publishes what the cgroups say, with names as long as usual ones.
func fillStore(cgroups []*cgroupfs.Cgroup) (*snapshot.Store, error) {
	reader, err := cgroupfs.NewFileReader(cgroupRoot, cgroupfs.FileReaderConfig{})
	if err != nil {
		return nil, err
	}
	var snap snapshot.Snapshot
	pods, failed := map[*cgroupfs.Cgroup]*snapshot.PodIdentity{}, error(nil)
	for i, c := range cgroups {
		var m snapshot.Measures
		failed = errors.Join(failed, reader.Read(c, &m.Current))
		m.Total = m.Current
		switch c.Level {
		case cgroupfs.LevelKubepods:
			snap.Kubepods = snapshot.Slice{Measures: m, Path: c.Path, Exists: true}
		case cgroupfs.LevelQoS:
			snap.Classes[c.QoS] = snapshot.Slice{Measures: m, Path: c.Path, Exists: true}
		case cgroupfs.LevelPod:
			pods[c] = &snapshot.PodIdentity{Namespace: "production", Name: fmt.Sprintf("web-7c9f8d6b5-%05d", i), UID: c.PodUID, Known: true}
			snap.Pods = append(snap.Pods, snapshot.Pod{
				Measures: m, Series: c.ID, Identity: pods[c], QoS: c.QoS, Path: c.Path, CgroupID: c.ID, Started: time.Now(),
			})
		case cgroupfs.LevelContainer:
			snap.Containers = append(snap.Containers, container(c, pods[c.Parent], m))
		}
	}
	store := snapshot.NewStore()
	store.Publish(func(to *snapshot.Snapshot) {
		*to = snap
		to.Taken = time.Now()
	})
	return store, errors.Join(failed, reader.Close())
}

func container(c *cgroupfs.Cgroup, pod *snapshot.PodIdentity, m snapshot.Measures) snapshot.Container {
	group, _ := m.Current.Get(cgroupfs.MemoryOOMGroup)
	return snapshot.Container{
		Measures: m, Series: c.ID, QoS: c.QoS, Path: c.Path, CgroupID: c.ID, ContainerID: c.ContainerID, Runtime: c.Runtime,
		// kubetree sets it as the kubelet does: for containers only.
		Sandbox: group == 0, Started: time.Now(), Starts: 1,
		Identity: &snapshot.ContainerIdentity{
			Namespace: pod.Namespace, Pod: pod.Name, PodUID: pod.UID, Known: true,
			Name: "application-" + c.ContainerID[:4], Image: "registry.example/team/application:v1.2.3",
			Type: snapshot.AppContainer, WorkloadKind: "Deployment", Workload: "web",
		},
	}
}

// sample is one series, as a usual collector has it.
type sample struct {
	name, help     string
	kind           prometheus.ValueType
	labels, values []string
	value          float64
}

// samplesOf copies what a gatherer has.
func samplesOf(g *exporter.Gatherer) []sample {
	families, done, _ := g.Gather()
	defer done()
	var samples []sample
	for _, family := range families {
		kind := prometheus.GaugeValue
		if family.GetType() == dto.MetricType_COUNTER {
			kind = prometheus.CounterValue
		}
		for _, m := range family.GetMetric() {
			s := sample{name: family.GetName(), help: family.GetHelp(), kind: kind, value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				s.labels, s.values = append(s.labels, l.GetName()), append(s.values, l.GetValue())
			}
			samples = append(samples, s)
		}
	}
	return samples
}

// plainHandler serves samples in the way of the usual exporter: a collector
// that makes a const metric of each at every scrape. The descriptions are made
// once, as a good one does.
func plainHandler(samples []sample, withSelf bool) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	if withSelf {
		if _, err := exporter.NewSelfMetrics(registry, exporter.Build{}); err != nil {
			return nil, err
		}
	}
	c := constCollector{samples: samples}
	known := map[string]*prometheus.Desc{}
	for _, s := range samples {
		key := fmt.Sprint(s.name, s.labels)
		if known[key] == nil {
			known[key] = prometheus.NewDesc(s.name, s.help, s.labels, nil)
		}
		c.descs = append(c.descs, known[key])
	}
	if err := registry.Register(c); err != nil {
		return nil, fmt.Errorf("register the plain collector: %w", err)
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		OfferedCompressions: []promhttp.Compression{promhttp.Gzip, promhttp.Identity},
	}), nil
}

type constCollector struct {
	samples []sample
	descs   []*prometheus.Desc // of each sample
}

// Describe implements prometheus.Collector; nothing makes it unchecked.
func (constCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c constCollector) Collect(ch chan<- prometheus.Metric) {
	for i, s := range c.samples {
		ch <- prometheus.MustNewConstMetric(c.descs[i], s.kind, s.value, s.values...)
	}
}
