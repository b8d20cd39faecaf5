// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSmallest(t *testing.T) {
	for _, enough := range []float64{0.021, 0.3, 0.97, 1.05, 3.9} {
		for _, guess := range []float64{0.001, 0.3, 1, 1.2, 4.2, 9} {
			tried := 0
			got := smallest(guess, 0.02, 4.2, func(limit float64) bool { tried++; return limit >= enough })
			if got < enough || got > enough*precision*1.0001 {
				t.Errorf("guess %g: %g, want %g to %g", guess, got, enough, enough*precision)
			}
			if guess >= enough/1.1 && guess <= enough*1.1 && tried > 5 {
				t.Errorf("guess %g of %g: %d were tried", guess, enough, tried)
			}
		}
	}
}

// What was enough for one minute is where the search for another begins.
func TestSmallestFromWhatWasEnough(t *testing.T) {
	for _, enough := range []float64{0.5, 0.77, 0.78, 0.9, 1.3, 3.9} {
		got := smallest(0.77, 0.77, 4.2, func(limit float64) bool { return limit >= enough })
		if want := max(enough, 0.77); got < want || got > want*precision*1.0001 {
			t.Errorf("%g is enough: %g", enough, got)
		}
	}
}

func TestRowsComeBack(t *testing.T) {
	want := Row{Machine: "Linux", Shape: "a | b", Class: Pool, Enough: 0.7, Hint: 1.2, Kills: 2}
	got, ok := ParseLine("    cpu_test.go:3: " + want.Line() + "\n")
	if !ok || got != want {
		t.Errorf("%v: %s", ok, cmp.Diff(want, got))
	}
	if _, ok := ParseLine("    cpu_test.go:3: nothing"); ok {
		t.Error("a row of nothing")
	}
}

func TestMisses(t *testing.T) {
	good := Row{Class: Steady, Enough: 1, Hint: 1.3, After: 0.01}
	for name, test := range map[string]struct {
		change func(*Row)
		want   string
	}{
		"nothing":     {func(*Row) {}, ""},
		"throttled":   {func(r *Row) { r.After = 0.012 }, "1.2 % of periods"},
		"steady":      {func(r *Row) { r.Hint = 1.4 }, "above 1.35"},
		"short":       {func(r *Row) { r.Class, r.Hint = Short, 1.7 }, "above 1.6"},
		"short, core": {func(r *Row) { r.Class, r.Hint, r.Enough = Short, 1.7, 0.1 }, ""},
		"pool":        {func(r *Row) { r.Class, r.Hint = Pool, 2.8 }, "above 2.75"},
		"second":      {func(r *Row) { r.Class, r.Hint, r.Newest = Pool, 2.2, 1.3 }, "second hint"},
		"saturated":   {func(r *Row) { r.Class, r.Hint, r.Confidence = Saturated, 4, 0.75 }, "confidence"},
		"memory":      {func(r *Row) { r.Class, r.Kills = Memory, 1 }, "killed again"},
	} {
		r := good
		test.change(&r)
		if got := strings.Join(r.Misses(), ", "); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: misses %q, want %q", name, got, test.want)
		}
	}
}

func TestTables(t *testing.T) {
	rows := []Row{
		{Shape: "x", Class: Pool, Enough: 0.5, Share: 0.5, Before: 0.4, Hint: 2.2, Newest: 1.1},
		{Shape: "y", Class: Memory, Enough: 100 << 20, Share: 0.8, Hint: 1.2},
	}
	if got := Summary(rows); !strings.Contains(got, "| pool | at most 2 for 9 of 10, 2.75 always; second 1.25 | 1 | 1 | 2.20 to 2.20 | 1.10 to 1.10 | **1 above 2** |") ||
		!strings.Contains(got, "| memory | at most 1.5 | 1 | 1 | 1.20 to 1.20 |  | met |") {
		t.Error(got)
	}
	if got := Table(rows); !strings.Contains(got, "| y | memory | 100 Mi | 0.80 | killed | 1.20 | 0 kills |") {
		t.Error(got)
	}
}

func TestReport(t *testing.T) {
	pool := Row{Machine: "Linux x", Shape: "p", Class: Pool, Exact: true, Enough: 0.5, Hint: 1.2, Newest: 1.1}
	old := pool
	old.Hint = 9
	memory := Row{Machine: "Linux y", Shape: "m", Class: Memory, Enough: 100 << 20, Hint: 1.2}
	rows, _, err := Read(strings.NewReader("=== RUN\n  x.go:1: "+old.Line()+"\n  x.go:1: "+pool.Line()+"\n"+memory.Line()+"\nPASS\n"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Row{pool, memory}, rows); diff != "" {
		t.Error(diff)
	}
	text, err := Replace("a\n"+begin+"\nold\n"+end+"\nb\n", Report(rows))
	if err != nil || strings.Contains(text, "old") || !strings.HasPrefix(text, "a\n"+begin) || !strings.HasSuffix(text, end+"\nb\n") {
		t.Errorf("%v: %s", err, text)
	}
	if strings.Count(text, "### ") != 2 || !strings.Contains(text, "Linux y") || strings.Contains(text, "from polls") {
		t.Error(text)
	}
	if _, err := Replace("nothing", "x"); err == nil {
		t.Error("put where there is no place for it")
	}
}
