// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
)

// Lives asks for the newest lives of containers.
func (c *Client) Lives(ctx context.Context, q RecordQuery) (*exporter.LifeList, error) {
	var list exporter.LifeList
	if err := c.get(ctx, "/api/v1/lives", q.parameters(), &list); err != nil {
		return nil, err
	}
	return &list, nil
}

// WriteLives prints lives in one of the forms.
func WriteLives(w io.Writer, list *exporter.LifeList, form string) error {
	switch form {
	case JSON:
		return writeJSON(w, list)
	case YAML:
		return writeYAML(w, list)
	}
	if len(list.Lives) == 0 {
		_, err := fmt.Fprintln(w, "No such container runs, and none ended in the last hour.")
		return err
	}
	columns := []string{"STARTED", "NAMESPACE", "POD", "CONTAINER", "LIVED", "CPU", "MEMORY PEAK", "END"}
	if form == Wide {
		columns = append(columns, "ENDED", "THROTTLED", "MEMORY LIMIT", "QOS", "CONTAINER ID")
	}
	var rows [][]string
	for i := range list.Lives {
		l := &list.Lives[i]
		cells := []string{
			clock(l.Started), dash(l.Namespace), dash(l.Pod), dash(l.Container), lived(l, list.Time),
			spellSeconds(l.CPUSeconds), amountInBytes(l.MemoryPeakBytes), string(l.End),
		}
		if form == Wide {
			cells = append(cells, clock(l.Ended), spellSeconds(l.ThrottledSeconds), amountInBytes(l.MemoryLimitBytes), dash(l.QoS), dash(l.ContainerID))
		}
		rows = append(rows, cells)
	}
	if err := writeTable(w, columns, rows); err != nil {
		return fmt.Errorf("print the lives: %w", err)
	}
	return tellOfMore(w, list.Matching-len(rows))
}

func clock(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}

// lived returns for how long a container lived or, if it does, has by now.
func lived(l *exporter.Life, now time.Time) string {
	until := l.Ended
	if l.End == snapshot.LifeRuns {
		until = now
	}
	if l.Started.IsZero() || until.IsZero() {
		return "-"
	}
	return spellDuration(max(until.Sub(l.Started), 0))
}

func spellSeconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return spellDuration(time.Duration(*s * float64(time.Second)))
}

// spellDuration spells a time by its two largest units, as kubectl does, and one
// of less than a minute to three digits.
func spellDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second-time.Millisecond/2:
		return fmt.Sprintf("%dms", d.Round(time.Millisecond).Milliseconds())
	case d < 10*time.Second-5*time.Millisecond:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	d = d.Round(time.Second)
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
