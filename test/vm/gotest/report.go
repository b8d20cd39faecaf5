// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"fmt"
	"io"
	"strings"
)

// Counts are numbers of tests and subtests, one for each line that is printed.
type Counts struct {
	Passed, Failed, Skipped int
}

// Add adds another's.
func (c *Counts) Add(other Counts) {
	c.Passed += other.Passed
	c.Failed += other.Failed
	c.Skipped += other.Skipped
}

// Total is how many tests there were.
func (c Counts) Total() int { return c.Passed + c.Failed + c.Skipped }

func (c Counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

// Printer prints results one by one and counts them.
type Printer struct {
	Out io.Writer
	// Prefix is cut off the packages' names: the module's own.
	Prefix string
	// SkipIsFailure: where tests have everything they need, a skip hides one.
	SkipIsFailure bool
	// Verbose shows what tests log although they pass.
	Verbose bool
	Counts  Counts
}

// isFuzzInput tells the inputs of a fuzz test from subtests: there are hundreds,
// and only one that fails is worth a line.
func isFuzzInput(test string) bool {
	return strings.HasPrefix(test, "Fuzz") && strings.Contains(test, "/")
}

func indented(text string) string { return "\n      " + strings.ReplaceAll(text, "\n", "\n      ") }

// Report prints one result. Output that cannot be written is not this
// function's to report: the counts decide.
func (p *Printer) Report(r Result) {
	if r.Status == Pass && isFuzzInput(r.Test) {
		return
	}
	note := ""
	if r.Status == Skip && p.SkipIsFailure {
		r.Status = Fail
		note = "skipped, and skips are failures here: "
	}
	name := strings.TrimPrefix(strings.TrimPrefix(r.Package, p.Prefix), "/")
	line := fmt.Sprintf("%s  %s  %s  %.2fs", r.Status, name, r.Test, r.Elapsed.Seconds())
	switch r.Status {
	case Pass:
		p.Counts.Passed++
		if p.Verbose && r.Output != "" {
			line += indented(r.Output)
		}
	case Skip:
		p.Counts.Skipped++
		line += "  " + strings.Join(strings.Fields(r.Output), " ")
	case Fail:
		p.Counts.Failed++
		if text := note + r.Output; text != "" {
			line += indented(text)
		}
	}
	_, _ = fmt.Fprintln(p.Out, line)
}
