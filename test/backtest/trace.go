// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"slices"
	"strings"
	"time"
)

// Point is what a container used in one step of a trace.
type Point struct {
	At    time.Time
	Value float64 // cores, or bytes of working set
}

// Trace is a series of points in the order of time.
type Trace struct {
	Name   string
	Origin string // directory or "generated", as the tables group them
	Points []Point
}

// Duration returns the time from the first point to the last.
func (t Trace) Duration() time.Duration {
	if len(t.Points) == 0 {
		return 0
	}
	return t.Points[len(t.Points)-1].At.Sub(t.Points[0].At)
}

// Step returns the median distance of two points.
func (t Trace) Step() time.Duration {
	if len(t.Points) < 2 {
		return 0
	}
	gaps := make([]time.Duration, 0, len(t.Points)-1)
	for i := range t.Points[1:] {
		gaps = append(gaps, t.Points[i+1].At.Sub(t.Points[i].At))
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// covers returns for how long point i stands: until the next one, but no longer
// than three steps, so that a gap in a trace is nobody's use.
func (t Trace) covers(i int, step time.Duration) time.Duration {
	if i+1 == len(t.Points) {
		return step
	}
	return min(t.Points[i+1].At.Sub(t.Points[i].At), 3*step)
}

// Distinct returns the traces without those whose points an earlier one has,
// whatever it is called, and names these: a file that is in two directories
// would weigh twice.
func (t Traces) Distinct() (distinct Traces, repeated []string) {
	keep := func(all []Trace) (kept []Trace) {
		for _, trace := range all {
			if i := slices.IndexFunc(kept, trace.same); i >= 0 {
				repeated = append(repeated, trace.fullName()+" is "+kept[i].fullName())
				continue
			}
			kept = append(kept, trace)
		}
		return kept
	}
	distinct.CPU, distinct.Memory = keep(t.CPU), keep(t.Memory)
	return distinct, repeated
}

func (t Trace) fullName() string { return strings.TrimPrefix(t.Origin+"/"+t.Name, "/") }

func (t Trace) same(o Trace) bool {
	return slices.EqualFunc(t.Points, o.Points, func(a, b Point) bool { return a.At.Equal(b.At) && a.Value == b.Value })
}
