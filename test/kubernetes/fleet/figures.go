// SPDX-License-Identifier: Apache-2.0

//go:build linux

package fleet

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// figures are what the API server's process has spent since it started, and
// what it has now.
type figures struct {
	cpu          time.Duration
	writtenBytes int64 // to agents, etcd and logs
	residentMiB  int64
	peakMiB      int64 // since peaks were last forgotten
	// lists and watches are requests for pods by their outcome.
	lists, watches map[string]float64
	openWatches    float64
	events         float64 // sent for pods, on all watches together
	rejected       float64 // by priority and fairness
}

// measure reads the figures from /proc and the API server's own metrics.
func measure(ctx context.Context, api kubernetes.Interface, pid int) (figures, error) {
	f := figures{lists: map[string]float64{}, watches: map[string]float64{}}
	if err := f.readProcess(pid); err != nil {
		return f, fmt.Errorf("read what the API server's process spends: %w", err)
	}
	body, err := api.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return f, fmt.Errorf("ask the API server for its metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		return f, fmt.Errorf("parse the API server's metrics: %w", err)
	}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			f.add(name, labels, metric.GetCounter().GetValue()+metric.GetGauge().GetValue())
		}
	}
	return f, nil
}

func (f *figures) add(name string, labels map[string]string, value float64) {
	ofPods := labels["resource"] == "pods" && labels["group"] == ""
	switch {
	case name == "apiserver_request_total" && ofPods && labels["verb"] == "LIST":
		f.lists[labels["code"]] += value
	case name == "apiserver_request_total" && ofPods && labels["verb"] == "WATCH":
		f.watches[labels["code"]] += value
	case name == "apiserver_longrunning_requests" && ofPods && labels["verb"] == "WATCH":
		f.openWatches += value
	case name == "apiserver_watch_events_total" && labels["resource"] == "pods":
		f.events += value
	case name == "apiserver_flowcontrol_rejected_requests_total":
		f.rejected += value
	}
}

func (f *figures) readProcess(pid int) error {
	const ticksPerSecond = 100 // USER_HZ, which is 100 on every architecture
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	// Behind the name, which is in brackets, utime and stime are the 12th and 13th field.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return err
		}
		f.cpu += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	for file, wanted := range map[string]map[string]*int64{
		"io": {"wchar": &f.writtenBytes}, "status": {"VmRSS": &f.residentMiB, "VmHWM": &f.peakMiB},
	} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(line, ":")
			target := wanted[name]
			if target == nil {
				continue
			}
			if *target, err = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64); err != nil {
				return err
			}
		}
	}
	f.residentMiB, f.peakMiB = f.residentMiB/1024, f.peakMiB/1024
	return nil
}

// settle makes the API server collect its garbage, and the kernel forget how
// much memory it ever had.
func settle(ctx context.Context, api kubernetes.Interface, pid int) error {
	// Memory that the collector freed goes back to the kernel only with the
	// next collections.
	for range 3 {
		_, err := api.Discovery().RESTClient().Get().AbsPath("/debug/pprof/heap").Param("gc", "1").DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("make the API server collect its garbage: %w", err)
		}
	}
	// Documentation/filesystems/proc.rst: 5 resets the peak of resident memory.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("forget the API server's peak of memory: %w", err)
	}
	return nil
}

// spell writes counts by their code as "200: 1000, 429: 3", or 0.
func spell(counts map[string]float64, before map[string]float64) string {
	var parts []string
	for _, code := range []string{"200", "0", "410", "429", "500", "503", "504"} {
		if count := counts[code] - before[code]; count != 0 {
			parts = append(parts, fmt.Sprintf("%s: %.0f", code, count))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}
