// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Status is a test's verdict.
type Status int

// The verdicts.
const (
	Pass Status = iota
	Fail
	Skip
)

func (s Status) String() string {
	return [...]string{"PASS", "FAIL", "SKIP"}[s]
}

// WholePackage stands for a test's name where it is the binary that failed.
const WholePackage = "(the test binary)"

// outputKeepBytes bounds what is kept of one test's output; the end is kept.
const outputKeepBytes = 512 << 10

// Result is what became of one test or subtest.
type Result struct {
	Package, Test string
	Status        Status
	// Elapsed is by the guest's clock.
	Elapsed time.Duration
	// Output is what the test printed.
	Output string
}

// event is one line of test2json (go doc test2json).
type event struct {
	Action  string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// tracker follows one test binary.
type tracker struct {
	pkg      string
	expected []string
	report   func(Result)

	running map[string][]byte
	started map[string]bool
	failed  bool
	// loose is output that belongs to no test: a panic's, the runtime's.
	loose []byte
}

func newTracker(pkg string, expected []string, report func(Result)) *tracker {
	return &tracker{
		pkg: pkg, expected: expected, report: report,
		running: map[string][]byte{}, started: map[string]bool{},
	}
}

func (t *tracker) handle(e event) {
	switch e.Action {
	case "run":
		t.running[e.Test] = nil
		t.started[e.Test] = true
	case "output":
		if e.Test == "" {
			t.loose = keep(t.loose, e.Output)
		} else {
			t.running[e.Test] = keep(t.running[e.Test], e.Output)
		}
	case "pass":
		t.finish(e, Pass)
	case "fail":
		t.finish(e, Fail)
	case "skip":
		t.finish(e, Skip)
	}
}

func (t *tracker) finish(e event, status Status) {
	if e.Test == "" {
		// The verdict on the package is drawn from the exit status instead.
		return
	}
	r := Result{
		Package: t.pkg, Test: e.Test, Status: status, Output: said(t.running[e.Test]),
		Elapsed: time.Duration(e.Elapsed * float64(time.Second)),
	}
	delete(t.running, e.Test)
	t.emit(r)
}

func (t *tracker) emit(r Result) {
	t.failed = t.failed || r.Status == Fail
	t.report(r)
}

// end draws the verdicts that the binary itself could not: exitCode is its
// status, trouble what kept it from running to its end, if anything.
func (t *tracker) end(exitCode int, trouble error) {
	how := fmt.Sprintf("the test binary ended with exit status %d", exitCode)
	if trouble != nil {
		how = trouble.Error()
	}
	fail := func(name, what string, output ...string) {
		t.emit(Result{Package: t.pkg, Test: name, Status: Fail, Output: join(append([]string{what + how}, output...)...)})
		// Said in full once; the other tests get its first line.
		how, _, _ = strings.Cut(how, "\n")
		t.loose = nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.running)) {
		fail(name, "did not finish: ", said(t.running[name]), said(t.loose))
	}
	for _, name := range t.expected {
		if !t.started[name] {
			fail(name, "never ran: ", said(t.loose))
		}
	}
	if (exitCode != 0 || trouble != nil) && !t.failed {
		fail(WholePackage, "", said(t.loose))
	}
}

// keep appends and drops the beginning of what becomes too long.
func keep(have []byte, more string) []byte {
	have = append(have, more...)
	if over := len(have) - outputKeepBytes; over > 0 {
		have = append(have[:0], have[over:]...)
	}
	return have
}

// said is what a test printed itself: without the lines that only frame it.
func said(output []byte) string {
	var kept []string
	for line := range strings.Lines(string(output)) {
		if line = strings.TrimRight(line, "\n"); !isFrame(strings.TrimSpace(line)) {
			kept = append(kept, line)
		}
	}
	return strings.Trim(strings.Join(kept, "\n"), "\n")
}

func isFrame(line string) bool {
	for _, word := range [...]string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- PASS: ", "--- FAIL: ", "--- SKIP: "} {
		if strings.HasPrefix(line, word) {
			return true
		}
	}
	return false
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
}
