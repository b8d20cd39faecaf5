// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"errors"
	"io"
	"testing"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

const throttleDuration = "slicewatch_container_cpu_throttle_duration_seconds"

func TestHistogramsOfContainers(t *testing.T) {
	none, one := plainContainer(nil), plainContainer(nil)
	none.Series = 2
	none.Identity = &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-2", Name: "app"}
	one.ThrottleDurations, one.StallsLimit = durations(500e6, 1e9), durations(50_000)
	g := NewGatherer(storeOf(snapshot.Snapshot{Containers: []snapshot.Container{one, none}}), nil, Selection{})
	found := samples(t, text(t, g))
	labels := `container="app",namespace="shop",pod="web-1",qos="burstable"`
	stall := `slicewatch_container_memory_stall_duration_seconds_count{cause="limit",` + labels + `}`
	for series, want := range map[string]string{
		throttleDuration + `_bucket{` + labels + `,le="0.25"}`: "0",
		throttleDuration + `_bucket{` + labels + `,le="1"}`:    "2",
		throttleDuration + `_bucket{` + labels + `,le="+Inf"}`: "2",
		throttleDuration + `_sum{` + labels + `}`:              "1.5",
		throttleDuration + `_count{` + labels + `}`:            "2",
		stall: "1",
	} {
		if found[series] != want {
			t.Errorf("%s is %q, want %s", series, found[series], want)
		}
	}
	// Nothing is known of the others: absent, not 0.
	if n := len(only(found, throttleDuration)) + len(only(found, "slicewatch_container_memory_stall")); n != 2*13 {
		t.Errorf("%d series of two histograms, want 26", n)
	}
}

// scrapedHistogram fetches one histogram in the given format.
func scrapedHistogram(t *testing.T, accept string) (*dto.Histogram, string) {
	t.Helper()
	response := get(newTestServer(t, ServerConfig{}).Handler(), "/metrics", map[string]string{"Accept": accept})
	format := expfmt.ResponseFormat(response.Header())
	decoder := expfmt.NewDecoder(response.Body, format)
	for {
		mf := &dto.MetricFamily{}
		err := decoder.Decode(mf)
		if errors.Is(err, io.EOF) {
			t.Fatalf("no %s in %s", throttleDuration, format)
		}
		if err != nil {
			t.Fatal(err)
		}
		if mf.GetName() == throttleDuration {
			return mf.GetMetric()[0].GetHistogram(), string(format)
		}
	}
}

func TestFormatSaysWhichBucketsLeave(t *testing.T) {
	h, format := scrapedHistogram(t, acceptProto)
	if len(h.GetBucket()) != 10 || len(h.GetPositiveSpan()) == 0 || h.GetSchema() != snapshot.NativeSchema {
		t.Errorf("%s: %d classic buckets, spans %v", format, len(h.GetBucket()), h.GetPositiveSpan())
	}
	h, format = scrapedHistogram(t, "text/plain")
	if len(h.GetBucket()) != 11 || len(h.GetPositiveSpan()) != 0 {
		t.Errorf("%s: %d classic buckets, spans %v", format, len(h.GetBucket()), h.GetPositiveSpan())
	}
}

// What is shown is what client_golang shows of the same durations, whatever was
// shown before.
func TestShownAsClientGolangDoes(t *testing.T) {
	shown := newHistogram()
	rapid.Check(t, func(t *rapid.T) {
		nanos := rapid.SliceOfN(rapid.Uint64Range(1, 100e9), 1, 30).Draw(t, "ns")
		reference := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "x", Help: "For comparison.", Buckets: snapshot.ClassicBoundsSeconds(),
			NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: snapshot.NativeZeroThreshold(),
		})
		sum := uint64(0)
		for _, n := range nanos {
			reference.Observe(float64(n) / 1e9)
			sum += n
		}
		var want dto.Metric
		if err := reference.Write(&want); err != nil {
			t.Fatal(err)
		}
		want.Histogram.CreatedTimestamp = nil
		want.Histogram.SampleSum = new(float64(sum) / 1e9) // no rounding adds up in ours
		shown.show(durations(nanos...))
		if diff := cmp.Diff(want.Histogram.String(), shown.dto.String()); diff != "" && !proto.Equal(want.Histogram, &shown.dto) {
			t.Errorf("shown (-client_golang +slicewatch):\n%s", diff)
		}
	})
}

func TestHistogramsAreWrittenOnChangeOnly(t *testing.T) {
	shown, of := newHistogram(), durations(1e6, 5e9)
	shown.show(of)
	if n := testing.AllocsPerRun(100, func() { shown.show(of) }); n != 0 {
		t.Errorf("%g allocations for what did not change", n)
	}
	*shown.dto.SampleCount = 77
	shown.show(of)
	if *shown.dto.SampleCount != 77 {
		t.Error("written again although it did not change")
	}
}
