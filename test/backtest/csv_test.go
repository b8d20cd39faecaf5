// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadCSV(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(1736589600+int64(second), 0).UTC() }
	for _, test := range []struct {
		name, text string
		want       Traces
		err        string
	}{
		{
			name: "percent of a machine", text: "timestamp,value\n2025-01-11 10:00:00,50\n2025-01-11 10:00:10,25\n",
			want: Traces{CPU: []Trace{{Name: "n", Origin: "o", Points: []Point{{at(0), 2}, {at(10), 1}}}}},
		},
		{
			name: "columns of their own times, gaps, out of order",
			text: "timestamp,cpu_usage,timestamp,memory_working_set,timestamp,cpu_user\n" +
				"1736589610.0,0.5,1736589601.0,1000,1736589600,9\n1736589600.0,0.25,,,1736589600,9\n1736589620,,1736589611,2000,,\n",
			want: Traces{
				CPU:    []Trace{{Name: "n", Origin: "o", Points: []Point{{at(0), 0.25}, {at(10), 0.5}}}},
				Memory: []Trace{{Name: "n", Origin: "o", Points: []Point{{at(1), 1000}, {at(11), 2000}}}},
			},
		},
		{
			name: "repeated columns", text: "timestamp,cpu_usage,cpu_usage\n1736589600,1,2\n1736589610,3,4\n",
			want: Traces{CPU: []Trace{
				{Name: "n", Origin: "o", Points: []Point{{at(0), 1}, {at(10), 3}}},
				{Name: "n#2", Origin: "o", Points: []Point{{at(0), 2}, {at(10), 4}}},
			}},
		},
		{name: "empty", text: "", err: "read the header: EOF"},
		{name: "no known column", text: "timestamp,load\n1,2\n", err: `none of the columns "value", "cpu_usage" and "memory_working_set"`},
		{name: "no time", text: "value\n1\n2\n", err: `column "value" has no timestamp column to its left`},
		{name: "wrong time", text: "timestamp,value\nyesterday,2\n", err: `line 2: "yesterday" is no time`},
		{name: "wrong value", text: "timestamp,value\n1736589600,2\n1736589610,-3\n", err: `line 3: "-3" is no amount of use`},
		{name: "no number", text: "timestamp,value\n1736589600,NaN\n", err: `line 2: "NaN" is no amount of use`},
		{name: "too few", text: "timestamp,value\n1736589600,2\n", err: "column n has fewer than two values"},
		{name: "ragged", text: "timestamp,value\n1736589600\n", err: "wrong number of fields"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadCSV(strings.NewReader(test.text), "n", "o")
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add("timestamp,value\n2014-04-02 14:29:00,0.066\n2014-04-02 14:34:00,0.066\n")
	f.Add("timestamp,cpu_usage,timestamp,memory_working_set\n1736589600.0,0.5,1736589601.0,1000\n1736589610.0,0.5,1736589611.0,1000\n")
	f.Fuzz(func(t *testing.T, text string) {
		traces, err := ReadCSV(strings.NewReader(text), "n", "o")
		if err != nil {
			return
		}
		for _, trace := range append(traces.CPU, traces.Memory...) {
			for i, p := range trace.Points {
				if !(p.Value >= 0) || i > 0 && !p.At.After(trace.Points[i-1].At) {
					t.Fatalf("point %d of %v", i, trace.Points)
				}
			}
		}
	})
}

func TestRecordedTraces(t *testing.T) {
	traces, err := ReadDir("testdata/nab")
	if err != nil {
		t.Fatal(err)
	}
	if len(traces.CPU) != 5 || len(traces.Memory) != 0 {
		t.Fatalf("%d traces of CPU, %d of memory", len(traces.CPU), len(traces.Memory))
	}
	for _, trace := range traces.CPU {
		if trace.Step() != 5*time.Minute || len(trace.Points) < 4000 {
			t.Errorf("%s has %d points, one each %v", trace.Name, len(trace.Points), trace.Step())
		}
	}
	if _, err := ReadDir(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no .csv file") {
		t.Errorf("an empty directory gives %v", err)
	}
}

// A file that two directories have counts once, whatever it is called there.
func TestTracesCountOnce(t *testing.T) {
	const table = "timestamp,value,memory_working_set\n0,10,7\n300,20,8\n"
	root := t.TempDir()
	for path, content := range map[string]string{
		"a/one.csv": table, "b/one.csv": table, "b/renamed.csv": table, "b/other.csv": strings.Replace(table, "20", "21", 1),
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	distinct, repeated := all.Distinct()
	if len(distinct.CPU) != 2 || len(distinct.Memory) != 1 {
		t.Errorf("%d traces of CPU and %d of memory, want 2 and 1", len(distinct.CPU), len(distinct.Memory))
	}
	want := []string{"b/one is a/one", "b/renamed is a/one", "b/one is a/one", "b/other is a/one", "b/renamed is a/one"}
	if diff := cmp.Diff(want, repeated); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}
