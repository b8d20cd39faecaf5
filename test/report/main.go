// SPDX-License-Identifier: Apache-2.0

// Command report reads the output of `go test -json` and prints what a person
// wants to know of it: a line per package, the output of what failed, and each
// skipped test with its reason, so that nothing is left out silently. It owns
// that form and the verdict: it ends with 1 if anything failed. It must not
// know which tests there are.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	failed, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// event is one line of `go test -json`; see go doc test2json and, for builds
// (ImportPath), go help buildjson.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// key identifies a test, or a package by an empty test.
type key struct{ pkg, test string }

type reporter struct {
	to      io.Writer
	outputs map[key][]string // of what still runs
	skipped []string
	passed  int
	failed  int
	fail    bool
}

// report copies what matters from one to the other and says whether anything
// failed. A line that is no JSON (an error of go itself) is passed on.
func report(from io.Reader, to io.Writer) (bool, error) {
	r := &reporter{to: to, outputs: make(map[key][]string)}
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		var e event
		switch {
		case strings.TrimSpace(line) == "":
		case json.Unmarshal([]byte(line), &e) != nil:
			fmt.Fprint(to, line)
		default:
			r.take(e)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return true, fmt.Errorf("read the tests' output: %w", err)
		}
	}
	r.finish()
	return r.fail, nil
}

func (r *reporter) take(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.to, e.Output)
	case "build-fail":
		r.fail = true
	case "output":
		r.outputs[k] = append(r.outputs[k], e.Output)
	case "pass", "fail", "skip":
		r.end(k, e)
		delete(r.outputs, k)
	}
}

func (r *reporter) end(k key, e event) {
	if e.Action == "fail" {
		r.fail = true
		for _, line := range r.outputs[k] {
			fmt.Fprint(r.to, line)
		}
	}
	switch {
	case k.test == "" && e.Action == "skip":
		fmt.Fprintf(r.to, "%-5s %s (no test files)\n", "-", k.pkg)
	case k.test == "":
		fmt.Fprintf(r.to, "%-5s %s %.1fs\n", e.Action, k.pkg, e.Elapsed)
	case e.Action == "skip":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", k.pkg, k.test, reason(r.outputs[k])))
	case e.Action == "fail":
		r.failed++
	default:
		r.passed++
	}
}

func (r *reporter) finish() {
	slices.Sort(r.skipped)
	for _, line := range r.skipped {
		fmt.Fprintln(r.to, "skipped:", line)
	}
	// What began and never ended died with its process.
	for k, output := range r.outputs {
		r.fail = true
		fmt.Fprintf(r.to, "never ended: %s %s\n%s", k.pkg, k.test, strings.Join(output, ""))
	}
	fmt.Fprintf(r.to, "%d tests passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	if r.passed == 0 {
		r.fail = true
	}
}

// reason finds what t.Skip was told: the output but for the framing lines.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}
