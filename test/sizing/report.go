// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Read returns the rows and the windows in a test's output, and copies the rest.
func Read(output io.Reader, to io.Writer) (rows []Row, windows []*Recorded, err error) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		window, err := ParseRecorded(lines.Text())
		if err != nil {
			return nil, nil, err
		}
		if window != nil {
			windows = append(windows, window)
			continue
		}
		if _, err := fmt.Fprintln(to, lines.Text()); err != nil {
			return nil, nil, fmt.Errorf("copy the output: %w", err)
		}
		if r, ok := ParseLine(lines.Text()); ok {
			rows = add(rows, r)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("read a test's output: %w", err)
	}
	return rows, windows, nil
}

// add puts a row in, in the place of an earlier one of the same experiment.
func add(rows []Row, r Row) []Row {
	for i, old := range rows {
		if old.Machine == r.Machine && old.Shape == r.Shape && old.Share == r.Share && old.Exact == r.Exact {
			rows[i] = r
			return rows
		}
	}
	return append(rows, r)
}

// The lines that the report is between.
const (
	begin = "<!-- kernel: begin -->"
	end   = "<!-- kernel: end -->"
)

// Replace returns the text with its report replaced.
func Replace(text, report string) (string, error) {
	before, rest, found := strings.Cut(text, begin+"\n")
	_, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		return "", fmt.Errorf("there are no lines %q and %q to put the report between", begin, end)
	}
	return before + begin + "\n\n" + report + "\n" + end + after, nil
}

// Report returns what came of all experiments: for each machine and for each kind
// of records a summary, then every experiment.
func Report(rows []Row) string {
	var b strings.Builder
	for _, part := range []struct {
		title string
		of    func(Row) bool
	}{
		{"CPU, from the kernel's records of periods", func(r Row) bool { return r.Class != Memory && r.Exact }},
		{"CPU, from polls of cpu.stat alone", func(r Row) bool { return r.Class != Memory && !r.Exact }},
		{"Memory", func(r Row) bool { return r.Class == Memory }},
	} {
		for _, machine := range machines(rows) {
			var these []Row
			for _, r := range rows {
				if r.Machine == machine && part.of(r) {
					these = append(these, r)
				}
			}
			if len(these) > 0 {
				fmt.Fprintf(&b, "### %s\n\n%s\n\n%s\n%s\n", part.title, machine, Summary(these), Table(these))
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func machines(rows []Row) []string {
	var all []string
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.Machine] {
			seen[r.Machine] = true
			all = append(all, r.Machine)
		}
	}
	return all
}
