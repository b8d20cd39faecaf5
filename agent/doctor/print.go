// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// report is the form of the JSON output.
type report struct {
	Healthy bool     `json:"healthy"`
	Checks  []Result `json:"checks"`
}

// WriteJSON writes {"healthy": ..., "checks": [...]}, indented.
func WriteJSON(w io.Writer, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(report{Healthy: Healthy(results), Checks: results}); err != nil {
		return fmt.Errorf("write the checks: %w", err)
	}
	return nil
}

// WriteTable writes one line per check, below it what that costs and what
// mends it, and a line that counts the verdicts. With color, verdicts are
// coloured by ANSI escapes.
func WriteTable(w io.Writer, results []Result, color bool) error {
	var out strings.Builder
	width := len("CHECK")
	for _, r := range results {
		width = max(width, len(r.Check))
	}
	line := func(check, status, text string) { fmt.Fprintf(&out, "%-*s  %s  %s\n", width, check, status, text) }
	counts := make(map[Status]int)
	line("CHECK", pad("STATUS"), "FOUND")
	for _, r := range results {
		counts[r.Status]++
		line(r.Check, paint(pad(string(r.Status)), r.Status, color), printable(r.Found))
		if r.Cost != "" {
			line("", pad(""), "cost: "+printable(r.Cost))
		}
		if r.Mend != "" {
			line("", pad(""), "mend: "+printable(r.Mend))
		}
	}
	fmt.Fprintf(&out, "\n%d ok, %d degraded, %d failing, %d skipped\n",
		counts[OK], counts[Degraded], counts[Failing], counts[Skipped])
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write the checks: %w", err)
	}
	return nil
}

// pad makes a verdict as wide as the longest.
func pad(status string) string { return fmt.Sprintf("%-*s", len(Degraded), status) }

func paint(text string, status Status, color bool) string {
	if !color {
		return text
	}
	codes := map[Status]string{OK: "32", Degraded: "33", Failing: "31", Skipped: "2"} // green, yellow, red, faint
	return "\x1b[" + codes[status] + "m" + text + "\x1b[0m"
}

// printable keeps what a file or an error said from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
