// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machineCores is how many cores a trace in percent of a machine is taken to
// be of.
const machineCores = 4

// column says what a column of a trace file is: its factor to cores or bytes.
type column struct {
	memory bool
	factor float64
}

var columns = map[string]column{
	"value":              {factor: machineCores / 100.0}, // percent of a machine
	"cpu_usage":          {factor: 1},                    // cores
	"memory_working_set": {memory: true, factor: 1},      // bytes
}

// Traces are what a file or several hold.
type Traces struct{ CPU, Memory []Trace }

// Add appends the traces of another.
func (t *Traces) Add(o Traces) {
	t.CPU, t.Memory = append(t.CPU, o.CPU...), append(t.Memory, o.Memory...)
}

// ReadDir reads every .csv file below a directory. A file without a known
// column is an error that names it.
func ReadDir(dir string) (Traces, error) {
	var all Traces
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".csv" {
			return err
		}
		files++
		traces, err := readFile(path)
		if err != nil {
			return err
		}
		all.Add(traces)
		return nil
	})
	if err != nil {
		return Traces{}, fmt.Errorf("read traces: %w", err)
	}
	if files == 0 {
		return Traces{}, fmt.Errorf("read traces: there is no .csv file below %s", dir)
	}
	return all, nil
}

func readFile(path string) (_ Traces, err error) {
	file, err := os.Open(path)
	if err != nil {
		return Traces{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".csv"), "_merged")
	traces, err := ReadCSV(file, name, filepath.Base(filepath.Dir(path)))
	if err != nil {
		return Traces{}, fmt.Errorf("%s: %w", path, err)
	}
	return traces, nil
}

// series is a value's column with the time's column that stands before it.
type series struct {
	name      string
	at, value int
	memory    bool
	factor    float64
	points    []Point
}

// ReadCSV reads a table with a header that has a "timestamp" column and one or
// more of "value" (percent of a machine of 4 cores), "cpu_usage" (cores) and
// "memory_working_set" (bytes). Columns may repeat: each value belongs to the
// nearest timestamp to its left. An empty cell is a gap. Timestamps are seconds
// since 1970 or "2006-01-02 15:04:05" or RFC 3339. Points come out in the order
// of time; of two at the same time the first is kept.
func ReadCSV(r io.Reader, name, origin string) (Traces, error) {
	table := csv.NewReader(r)
	table.ReuseRecord = true
	header, err := table.Read()
	if err != nil {
		return Traces{}, fmt.Errorf("read the header: %w", err)
	}
	all, err := findSeries(header, name)
	if err != nil {
		return Traces{}, err
	}
	for {
		record, err := table.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Traces{}, err
		}
		line, _ := table.FieldPos(0)
		for i := range all {
			if err := all[i].take(record); err != nil {
				return Traces{}, fmt.Errorf("line %d: %w", line, err)
			}
		}
	}
	var traces Traces
	for _, s := range all {
		if len(s.points) < 2 {
			return Traces{}, fmt.Errorf("column %s has fewer than two values", s.name)
		}
		trace := Trace{Name: s.name, Origin: origin, Points: inOrder(s.points)}
		if s.memory {
			traces.Memory = append(traces.Memory, trace)
		} else {
			traces.CPU = append(traces.CPU, trace)
		}
	}
	return traces, nil
}

func inOrder(points []Point) []Point {
	slices.SortStableFunc(points, func(a, b Point) int { return a.At.Compare(b.At) })
	return slices.CompactFunc(points, func(a, b Point) bool { return a.At.Equal(b.At) })
}

func findSeries(header []string, name string) ([]series, error) {
	at, seen := -1, map[string]int{}
	var all []series
	for i, title := range header {
		title = strings.TrimSpace(title)
		if title == "timestamp" {
			at = i
			continue
		}
		kind, ok := columns[title]
		if !ok {
			continue
		}
		if at < 0 {
			return nil, fmt.Errorf("column %q has no timestamp column to its left", title)
		}
		s := series{name: name, at: at, value: i, memory: kind.memory, factor: kind.factor}
		if seen[title]++; seen[title] > 1 {
			s.name = fmt.Sprintf("%s#%d", name, seen[title])
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf(`the header %q has none of the columns "value", "cpu_usage" and "memory_working_set"`, header)
	}
	return all, nil
}

func (s *series) take(record []string) error {
	text := strings.TrimSpace(record[s.value])
	if text == "" {
		return nil
	}
	at, err := parseTime(strings.TrimSpace(record[s.at]))
	if err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) || math.IsNaN(value) || value < 0 {
		return fmt.Errorf("%q is no amount of use", text)
	}
	s.points = append(s.points, Point{At: at, Value: value * s.factor})
	return nil
}

func parseTime(text string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(seconds) < 1e11 {
		return time.Unix(0, int64(seconds*1e9)).UTC(), nil
	}
	for _, layout := range []string{time.DateTime, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: seconds since 1970, 2006-01-02 15:04:05 or RFC 3339", text)
}
