// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/history"
)

// least is what a hint may be short of L*, which is known to precision; another
// minute of requests at random is throttled too much, or is not.
var least = map[Class]float64{Steady: 1 / precision, Short: 1 / precision, Pool: 0.8, Saturated: 0.8}

// sure returns the confidence of the hint that a window alone gives.
func sure(w history.Window) float64 {
	s := history.NewStore(history.Config{}).Series(history.Key{}, w.End)
	s.AddWindow(w)
	return hints.Compute(s, hints.Facts{}, hints.Settings{Policy: hints.Guaranteed}, w.End).Confidence
}

// unfounded says how what a throttled window asks for is not what it says that this
// was made of.
func unfounded(w history.Window) string {
	if !w.OverTarget() {
		return ""
	}
	margins := []float64{1.05, 1.10}
	switch {
	case w.Basis == "":
		return "nothing says what its need was made of"
	case w.Saturated && w.Basis != history.BasisMost:
		return "saturated, but asks for " + string(w.Basis)
	case w.Basis == history.BasisRaise:
		margins = []float64{history.LeastRaise}
	case w.Exact && w.Basis == history.BasisSlowdown, w.Basis == history.BasisMost:
		margins = margins[:1]
	}
	if !slices.ContainsFunc(margins, func(m float64) bool { return math.Abs(w.BasisCores*m-w.NeedCores) < 1e-9 }) {
		return fmt.Sprintf("%g cores are not %g and a margin (%s)", w.NeedCores, w.BasisCores, w.Basis)
	}
	return ""
}

// TestRecordedWindows computes again what `make hints-test` recorded, so that a
// change of the arithmetic is held against real kernels without one.
func TestRecordedWindows(t *testing.T) {
	file, err := os.Open("testdata/windows.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all, err := ReadRecorded(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("%d windows, want those of all shapes", len(all))
	}
	for _, r := range all {
		how := "limited"
		if r.Applied {
			how = "hint applied"
		}
		t.Run(fmt.Sprintf("%s at %.2f, exact %t, %s", r.Shape, r.Share, r.Exact, how), func(t *testing.T) {
			w := r.Records.Window()
			class := r.Class
			if w.Saturated {
				class = Saturated
				if !slices.ContainsFunc(shapes(), func(s shape) bool { return s.name == r.Shape && s.saturates }) {
					t.Error("taken for saturated")
				}
			}
			need := math.Ceil(100*w.NeedCores-1e-9) / 100 / r.Enough
			row := Row{Class: class, Enough: r.Enough, Hint: need, Confidence: sure(w)}
			if r.Applied {
				row.Newest = need
			}
			if missed := row.Misses(); len(missed) > 0 {
				t.Errorf("%.2f of L*: %v", need, missed)
			}
			if why := unfounded(w); why != "" {
				t.Error(why)
			}
			if need < least[class] {
				t.Errorf("%.2f of L*, want %.2f at least", need, least[class])
			}
		})
	}
}
