// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

const metricsText = `# TYPE slicewatch_container_memory_usage_bytes gauge
slicewatch_container_memory_usage_bytes{namespace="",pod="POD",container="a",qos="burstable"} 1
slicewatch_container_memory_usage_bytes{namespace="",pod="other",container="b",qos="burstable"} 2
# TYPE slicewatch_container_cpu_periods_total counter
slicewatch_container_cpu_periods_total{namespace="",pod="POD",container="a",qos="burstable"} PERIODS
# TYPE slicewatch_container_cpu_throttled_periods_total counter
slicewatch_container_cpu_throttled_periods_total{namespace="",pod="POD",container="a",qos="burstable"} THROTTLED
# TYPE slicewatch_kubepods_memory_events_total counter
slicewatch_kubepods_memory_events_total{event="oom",scope="hierarchical"} 3
slicewatch_kubepods_memory_events_total{event="oom",scope="local"} 1
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 20971520
`

func serve(t *testing.T, text string) scrape {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	s, err := scrapeMetrics(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusHasRealNumbers(t *testing.T) {
	fill := strings.NewReplacer("POD", apiPod(), "PERIODS", "10", "THROTTLED", "5")
	before := serve(t, fill.Replace(metricsText))
	now := serve(t, strings.NewReplacer("POD", apiPod(), "PERIODS", "30", "THROTTLED", "10").Replace(metricsText))
	line := status(before, now, 10*time.Second, apiPod())
	for _, want := range []string{"2 containers", "throttled in 25 %", "OOM kills 3", "RSS 20 MiB"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	kills := serve(t, fill.Replace(metricsText)+"# TYPE slicewatch_oom_kills_total counter\nslicewatch_oom_kills_total{scope=\"pod\"} 2\nslicewatch_oom_kills_total{scope=\"container\"} 5\n")
	if got := kills.oomKills(); got != 7 {
		t.Errorf("%.0f OOM kills, want 7", got)
	}
}

func TestScrapeFails(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if _, err := scrapeMetrics(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want one that says 404", err)
	}
}

func TestTakenPortIsSaidSo(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	if err := checkPort(t.Context(), port); err == nil || !strings.Contains(err.Error(), "--port") {
		t.Errorf("error %v, want one that names the flag that mends it", err)
	}
	listener.Close()
	if err := checkPort(t.Context(), port); err != nil {
		t.Error(err)
	}
}

// TestGuideFindsItsSeries holds the examples' regular expressions against
// series as the agent writes them.
func TestGuideFindsItsSeries(t *testing.T) {
	guide := guide("http://127.0.0.1:1")
	patterns := regexp.MustCompile(`grep -E '(.*)'`).FindAllStringSubmatch(guide, -1)
	if len(patterns) != 3 {
		t.Fatalf("%d examples, want 3:\n%s", len(patterns), guide)
	}
	labels := func(pod string) string { return `{namespace="",pod="` + podOf(pod) + `",container="x",qos="burstable"` }
	series := [][]string{
		{"slicewatch_container_cpu_throttled_periods_total" + labels("api"), "slicewatch_container_cpu_usage_seconds_total" + labels("api")},
		{"slicewatch_container_memory_working_set_bytes" + labels("search"), "slicewatch_container_memory_limit_bytes" + labels("search")},
		{
			"slicewatch_oom_kills_total" + labels("leaky"), "slicewatch_container_starts_total" + labels("leaky"),
			`slicewatch_container_memory_events_total{event="oom_kill",scope="local",namespace="",pod="` + podOf("leaky") + `"`,
		},
	}
	for i, pattern := range patterns {
		re := regexp.MustCompile(pattern[1])
		for _, s := range series[i] {
			if !re.MatchString(s) {
				t.Errorf("%s does not find %s", pattern[1], s)
			}
		}
		if re.MatchString("slicewatch_container_cpu_usage_seconds_total" + labels("redis")) {
			t.Errorf("%s finds another pod", pattern[1])
		}
	}
}

func TestOutputKeepsAndAwaits(t *testing.T) {
	var shown strings.Builder
	o := newOutput("x", &shown, "ready", func(line string) bool { return strings.Contains(line, "OOM") })
	for _, part := range []string{"one\r\nOO", "M here\nrea", "dy now\nunfinished"} {
		if n, err := o.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-o.seen:
	default:
		t.Error("the awaited line was not noticed")
	}
	if got, want := shown.String(), "  x: OOM here\n"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	if got, want := o.tail(), "it said last:\n\tone\n\tOOM here\n\tready now"; got != want {
		t.Errorf("tail %q, want %q", got, want)
	}
	for range 100 {
		_, _ = o.Write([]byte("line\n"))
	}
	if len(o.recent) != keepLines {
		t.Errorf("%d lines kept, want %d", len(o.recent), keepLines)
	}
}

func TestFlags(t *testing.T) {
	if o, err := parse([]string{"--for=60s", "--port=1234"}); err != nil || o.runFor != time.Minute || o.port != 1234 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"--port=0"}, {"--every=0s"}, {"now"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
