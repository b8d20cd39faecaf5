// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Class is a class of shapes, which the same is asked of.
type Class string

// The classes.
const (
	Steady    Class = "steady"         // single threads, bursts, pauses, starts, duty cycles of 30 ms and more
	Short     Class = "short cycles"   // very short duty cycles
	Pool      Class = "pool"           // requests for a pool of threads
	Saturated Class = "saturated pool" // a pool whose queue the limit never lets get empty
	Memory    Class = "memory"         // killed at its memory limit
)

// Row is one experiment's result.
type Row struct {
	Machine string
	Shape   string
	Class   Class
	// Exact says that the agent had the kernel's records of periods, not polls.
	Exact bool
	// Enough is the smallest limit that is enough, L*: in cores, or in bytes.
	Enough float64
	// Share is the limit that it began with, by Enough; Before the share of
	// throttled periods then.
	Share, Before float64
	// Hint is the hint by Enough; After and Slowdown are the share of throttled
	// periods and of waiting in the window after it was applied.
	Hint, After, Slowdown float64
	// Newest is what the window after that asks for, by Enough, Published what
	// is shown then. 0 where it was not looked at.
	Newest, Published float64
	// Confidence is the first hint's.
	Confidence float64
	// Kills counts OOM kills after the hint.
	Kills int
}

// mark begins a row in the output of a test.
const mark = "result-row "

// Line returns the row as a line that ParseLine finds.
func (r Row) Line() string {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf("a row that has no JSON: %v", err) // not a number: it shows
	}
	return mark + string(text)
}

// ParseLine returns the row of a line of a test's output, false if it has none.
func ParseLine(line string) (Row, bool) {
	var r Row
	_, text, found := strings.Cut(line, mark)
	return r, found && json.Unmarshal([]byte(text), &r) == nil
}

// What the classes are held to, as hint / L*.
const (
	target       = 0.01 // of throttled periods
	mostSteady   = 1.35
	mostShort    = 1.6
	mostShortAdd = 0.1 // cores
	usuallyPool  = 2.0 // for 9 of 10
	mostPool     = 2.75
	mostSecond   = 1.25
	mostMemory   = 1.5
	lowest       = 0.3 // of confidence, for a guess
)

// Misses returns what of the row misses what its class is held to.
func (r Row) Misses() []string {
	var missed []string
	miss := func(wrong bool, format string, args ...any) {
		if wrong {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	above := func(value, most float64) bool { return math.IsNaN(value) || value > most }
	miss(above(r.After, target), "%.1f %% of periods throttled", 100*r.After)
	miss(r.Kills > 0, "killed again")
	switch r.Class {
	case Steady:
		miss(above(r.Hint, mostSteady), "hint above %.2f", mostSteady)
	case Short:
		miss(above(r.Hint, max(mostShort, 1+mostShortAdd/r.Enough)), "hint above %.1f and %.1f cores more", mostShort, mostShortAdd)
	case Pool:
		miss(above(r.Hint, mostPool), "hint above %.2f", mostPool)
	case Saturated:
		miss(r.Confidence > lowest, "confidence %.2f", r.Confidence)
	case Memory:
		miss(above(r.Hint, mostMemory), "hint above %.1f", mostMemory)
	}
	if r.Class == Pool || r.Class == Saturated {
		miss(above(r.Newest, mostSecond), "second hint above %.2f", mostSecond)
	}
	return missed
}

// Summary says class by class what was asked and what came of it, as a table.
func Summary(rows []Row) string {
	var b strings.Builder
	b.WriteString("| class | hint / L* | experiments | cured | hint / L*, least to most | second hint | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	asked := []struct {
		class Class
		most  string
	}{
		{Steady, "at most 1.35"}, {Short, "at most 1.6 or + 0.1 core"}, {Pool, "at most 2 for 9 of 10, 2.75 always; second 1.25"},
		{Saturated, "low confidence; second 1.25"}, {Memory, "at most 1.5"},
	}
	for _, a := range asked {
		n, cured, missed, wide := 0, 0, 0, 0
		hints, seconds := span{}, span{}
		for _, r := range rows {
			if r.Class != a.class {
				continue
			}
			n++
			if r.After <= target && r.Kills == 0 {
				cured++
			}
			if len(r.Misses()) > 0 {
				missed++
			}
			if r.Class == Pool && r.Hint > usuallyPool {
				wide++
			}
			hints.add(r.Hint)
			seconds.add(r.Newest)
		}
		if n == 0 {
			continue
		}
		verdict := "met"
		switch {
		case missed > 0:
			verdict = fmt.Sprintf("**%d missed**", missed)
		case wide*10 > n:
			verdict = fmt.Sprintf("**%d above 2**", wide)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s | %s | %s |\n", a.class, a.most, n, cured, hints, seconds, verdict)
	}
	return b.String()
}

// span is the least and the most of what was added; 0 is nothing.
type span struct{ least, most float64 }

func (s *span) add(v float64) {
	if v == 0 {
		return
	}
	if s.most == 0 {
		s.least = v
	}
	s.least, s.most = min(s.least, v), max(s.most, v)
}

func (s span) String() string {
	if s.most == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f to %.2f", s.least, s.most)
}

// Table returns the rows as a table.
func Table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| shape | class | L* | limit before / L* | throttled before | hint / L* | throttled after | slowdown after | second window / L* | shown then / L* | misses |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		enough, before, after := fmt.Sprintf("%.2f", r.Enough), percent(r.Before), percent(r.After)
		if r.Class == Memory {
			enough, before, after = fmt.Sprintf("%.0f Mi", r.Enough/(1<<20)), "killed", fmt.Sprintf("%d kills", r.Kills)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s | %.2f | %s | %s | %s | %s | %s |\n", r.Shape, r.Class, enough, r.Share, before,
			r.Hint, after, percent(r.Slowdown), ratio(r.Newest), ratio(r.Published), strings.Join(r.Misses(), ", "))
	}
	return b.String()
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func ratio(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}
