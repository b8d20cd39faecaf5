// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

const (
	acceptProto       = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"
	// What Prometheus 3 sends, shortened.
	acceptPrometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2"
)

func newTestServer(t testing.TB, config ServerConfig) *Server {
	t.Helper()
	registry := prometheus.NewRegistry()
	self, err := NewSelfMetrics(registry, Build{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	self.SweepDone("files", 3*time.Millisecond)
	config.Self, config.Registry = self, registry
	if config.Store == nil {
		config.Store = storeOf(fullSnapshot())
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	server, err := NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func get(handler http.Handler, path string, header map[string]string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestTextFormat(t *testing.T) {
	for _, path := range []string{"/metrics", "/metrics/cadvisor"} {
		response := get(newTestServer(t, ServerConfig{}).Handler(), path, nil)
		if response.Code != http.StatusOK || !strings.HasPrefix(response.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Errorf("%s: %d, %v", path, response.Code, response.Header())
		}
		if response.Header().Get("Content-Length") != strconv.Itoa(response.Body.Len()) {
			t.Errorf("%s: Content-Length is %s of %d bytes", path, response.Header().Get("Content-Length"), response.Body.Len())
		}
		if families := parse(t, response.Body.String()); len(families) < 30 {
			t.Errorf("%s: %d families", path, len(families))
		}
	}
}

func TestOpenMetrics(t *testing.T) {
	for path, wanted := range map[string][]string{
		"/metrics": {
			"# TYPE slicewatch_container_cpu_throttled_seconds counter\n",
			"# UNIT slicewatch_container_cpu_throttled_seconds seconds\n",
			"\nslicewatch_container_cpu_throttled_seconds_total{",
			"# UNIT slicewatch_container_memory_usage_bytes bytes\n",
		},
		// A counter without _total keeps its name, as dashboards query it.
		"/metrics/cadvisor": {"# TYPE container_memory_failcnt unknown\n", "\ncontainer_memory_failcnt{"},
	} {
		for _, accept := range []string{acceptOpenMetrics, acceptPrometheus} {
			response := get(newTestServer(t, ServerConfig{}).Handler(), path, map[string]string{"Accept": accept})
			body := response.Body.String()
			if !strings.HasPrefix(response.Header().Get("Content-Type"), "application/openmetrics-text; version=1.0.0") {
				t.Errorf("%s: Content-Type %s", path, response.Header().Get("Content-Type"))
			}
			if !strings.HasSuffix(body, "\n# EOF\n") {
				t.Errorf("%s does not end with # EOF", path)
			}
			for _, want := range wanted {
				if !strings.Contains(body, want) {
					t.Errorf("%s lacks %q", path, want)
				}
			}
		}
	}
}

func TestProtobufHasNativeHistograms(t *testing.T) {
	response := get(newTestServer(t, ServerConfig{}).Handler(), "/metrics", map[string]string{"Accept": acceptProto})
	families := make(map[string]*dto.MetricFamily)
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header()))
	for {
		mf := &dto.MetricFamily{}
		err := decoder.Decode(mf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		families[mf.GetName()] = mf
	}
	duration := families[nameSweepDuration].GetMetric()[0].GetHistogram()
	if duration.GetSampleCount() != 1 || len(duration.GetPositiveSpan()) == 0 || len(duration.GetBucket()) == 0 {
		t.Errorf("sweep duration has %d native spans and %d classic buckets of %d samples",
			len(duration.GetPositiveSpan()), len(duration.GetBucket()), duration.GetSampleCount())
	}
	usage := families["slicewatch_container_cpu_usage_seconds_total"]
	if usage.GetUnit() != "seconds" || len(usage.GetMetric()) != 2 || usage.GetMetric()[0].GetCounter().GetValue() == 0 {
		t.Errorf("CPU usage: %v", usage)
	}
}

func TestCompression(t *testing.T) {
	handler := newTestServer(t, ServerConfig{}).Handler()
	plain := get(handler, "/metrics/cadvisor", nil)
	response := get(handler, "/metrics/cadvisor", map[string]string{"Accept-Encoding": "gzip"})
	if response.Header().Get("Content-Encoding") != "gzip" || response.Body.Len() >= plain.Body.Len()/2 {
		t.Fatalf("%d of %d bytes, %v", response.Body.Len(), plain.Body.Len(), response.Header())
	}
	if response.Header().Get("Content-Length") != strconv.Itoa(response.Body.Len()) {
		t.Errorf("Content-Length is %s of %d bytes", response.Header().Get("Content-Length"), response.Body.Len())
	}
	reader, err := gzip.NewReader(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if string(unpacked) != plain.Body.String() {
		t.Error("compressed and plain answers differ")
	}
	proto := get(handler, "/metrics", map[string]string{"Accept-Encoding": "gzip", "Accept": acceptProto})
	if proto.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("protobuf is not compressed: %v", proto.Header())
	}
}

func TestScrapesWhilePublishing(t *testing.T) {
	store := storeOf(fullSnapshot())
	handler := newTestServer(t, ServerConfig{Store: store}).Handler()
	stop := make(chan struct{})
	var publisher, scrapers sync.WaitGroup
	publisher.Go(func() {
		for n := uint64(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			store.Publish(func(s *snapshot.Snapshot) {
				*s = fullSnapshot()
				// Every container of a sweep says which it is.
				s.Containers = s.Containers[:0]
				for i := range 5 + n%3 {
					c := fullContainer(i+n%7, "shop", fmt.Sprintf("web-%d", i), "app")
					c.Starts = n
					s.Containers = append(s.Containers, c)
				}
			})
		}
	})
	for range 4 {
		scrapers.Go(func() {
			for range 25 {
				starts := make(map[string]bool)
				for series, value := range samples(t, get(handler, "/metrics", nil).Body.String()) {
					if strings.HasPrefix(series, "slicewatch_container_starts_total") {
						starts[value] = true
					}
				}
				if len(starts) > 1 {
					t.Errorf("one scrape shows several sweeps: %v", starts)
				}
			}
		})
	}
	scrapers.Wait()
	close(stop)
	publisher.Wait()
}

// stuckWriter is a client that does not read until it is told to.
type stuckWriter struct {
	http.ResponseWriter
	reached chan struct{}
	once    *sync.Once
	release chan struct{}
}

func (w stuckWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.reached) })
	<-w.release
	return w.ResponseWriter.Write(b)
}

func TestSlowClientHoldsUpNobody(t *testing.T) {
	handler := newTestServer(t, ServerConfig{}).Handler()
	stuck := stuckWriter{httptest.NewRecorder(), make(chan struct{}), &sync.Once{}, make(chan struct{})}
	var slow sync.WaitGroup
	slow.Go(func() { handler.ServeHTTP(stuck, httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
	<-stuck.reached
	if response := get(handler, "/metrics", nil); response.Code != http.StatusOK {
		t.Errorf("status %d while another client does not read", response.Code)
	}
	close(stuck.release)
	slow.Wait()
}

func TestTooManyScrapes(t *testing.T) {
	handler := newTestServer(t, ServerConfig{}).Handler()
	release := make(chan struct{})
	var slow sync.WaitGroup
	for i := range maxScrapes {
		stuck := stuckWriter{httptest.NewRecorder(), make(chan struct{}), &sync.Once{}, release}
		path := []string{"/metrics", "/metrics/cadvisor"}[i%2]
		slow.Go(func() { handler.ServeHTTP(stuck, httptest.NewRequest(http.MethodGet, path, nil)) })
		<-stuck.reached
	}
	refused := get(handler, "/metrics", nil)
	if refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, %v", refused.Code, refused.Header())
	}
	if healthy := get(handler, "/-/healthy", nil); healthy.Code != http.StatusOK {
		t.Errorf("health is %d while scrapes are refused", healthy.Code)
	}
	close(release)
	slow.Wait()
	if found := samples(t, get(handler, "/metrics", nil).Body.String()); found[nameScrapesRefused] != "1" {
		t.Errorf("%s is %q, want 1", nameScrapesRefused, found[nameScrapesRefused])
	}
}

func TestHeadAndOtherMethods(t *testing.T) {
	handler := newTestServer(t, ServerConfig{}).Handler()
	for method, want := range map[string]int{http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(method, "/metrics", nil))
		if recorder.Code != want || method == http.MethodHead && recorder.Body.Len() != 0 {
			t.Errorf("%s: status %d and %d bytes", method, recorder.Code, recorder.Body.Len())
		}
	}
}

// failing is a collector whose metrics do not come.
type failing struct{ desc *prometheus.Desc }

func (f failing) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }
func (f failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(f.desc, errors.New("no value today"))
}

func TestFailingCollectorIsLoggedAndTheRestServed(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(failing{prometheus.NewDesc("slicewatch_test", "A test.", nil, nil)})
	var logged strings.Builder
	handler, err := newScrapeHandler(NewGatherer(storeOf(fullSnapshot()), registry, Selection{}), slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	response := get(handler, "/metrics", nil)
	if response.Code != http.StatusOK || !strings.Contains(response.Body.String(), "slicewatch_container_pids") {
		t.Errorf("status %d, %d bytes", response.Code, response.Body.Len())
	}
	if !strings.Contains(logged.String(), "no value today") {
		t.Errorf("log: %q", logged.String())
	}
}
