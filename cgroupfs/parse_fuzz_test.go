// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// fuzzFiles fuzzes the parser of the named files. plain is a second, naive
// parser: what it gives for a text that is accepted must be the same.
func fuzzFiles(f *testing.F, names []string, plain func(file *controlFile, text string) map[string]uint64,
	format func(map[string]uint64, *controlFile) string,
) {
	for i, name := range names {
		for _, text := range fixturetree.Texts(f, name) {
			f.Add(uint8(i), text)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		file := fileNamed(t, names[int(which)%len(names)])
		original := bytes.Clone(text)
		got, err := parseAlone(t, file, text)
		if !bytes.Equal(original, text) {
			t.Error("the parser changed its input")
		}
		if err != nil {
			if len(got) != 0 {
				t.Errorf("fields present in spite of %v: %v", err, got)
			}
			if err.File != file.name || len(err.Line) > maxExcerptBytes || !strings.Contains(string(text), err.Line) {
				t.Errorf("error does not tell what is where: %#v", err)
			}
			return
		}
		if diff := cmp.Diff(plain(file, string(text)), got); diff != "" {
			t.Errorf("%q: (-naive +got):\n%s", text, diff)
		}
		again, err := parseAlone(t, file, []byte(format(got, file)))
		if err != nil {
			t.Fatalf("formatted: %v", err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("parsed, formatted and parsed again (-first +second):\n%s", diff)
		}
	})
}

// parseAlone parses the text into a Reading in which everything else is
// present, and checks that only the file's own fields are touched and
// that what they were before does not matter.
func parseAlone(t *testing.T, file *controlFile, text []byte) (map[string]uint64, *ParseError) {
	t.Helper()
	const other = 4711
	var full, empty Reading
	for f := range NumFields {
		full.Set(f, other)
	}
	err := file.parse(file, text, &full)
	for f := range NumFields {
		if slices.Contains(file.fields, f) {
			continue
		}
		if v, ok := full.Get(f); !ok || v != other {
			t.Errorf("%s changed %v", file.name, f)
		}
		full.Unset(f)
	}
	file.parse(file, text, &empty)
	if full != empty {
		t.Errorf("%s: the fields depend on what they were before", file.name)
	}
	return values(&full), err
}

func formatNumber(v uint64, mayBeMax bool) string {
	if mayBeMax && v == Unlimited {
		return "max"
	}
	return strconv.FormatUint(v, 10)
}

func FuzzParseValue(f *testing.F) {
	plain := func(file *controlFile, text string) map[string]uint64 {
		text = strings.TrimSuffix(text, "\n")
		v, err := strconv.ParseUint(text, 10, 64)
		if text == "max" && file.mayBeMax {
			v, err = Unlimited, nil
		}
		if err != nil {
			return nil
		}
		return map[string]uint64{file.fields[0].String(): v}
	}
	format := func(m map[string]uint64, file *controlFile) string {
		return formatNumber(m[file.name], file.mayBeMax) + "\n"
	}
	fuzzFiles(f, []string{"memory.current", "memory.max", "pids.max", "cpu.weight"}, plain, format)
}

func FuzzParseFlatKeyed(f *testing.F) {
	plain := func(file *controlFile, text string) map[string]uint64 {
		m := make(map[string]uint64)
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if slices.Contains(file.keys, key) {
				m[file.name+" "+key], _ = strconv.ParseUint(value, 10, 64)
			}
		}
		return m
	}
	format := func(m map[string]uint64, file *controlFile) string {
		// In the opposite of the usual order, among keys that nobody knows.
		text := "before 1\n"
		for _, key := range slices.Backward(file.keys) {
			if v, ok := m[file.name+" "+key]; ok {
				text += fmt.Sprintf("%s %d\n%s_x y\n", key, v, key)
			}
		}
		return text
	}
	fuzzFiles(f, []string{"cpu.stat", "memory.stat", "memory.events", "memory.swap.events"}, plain, format)
}

func FuzzParsePressure(f *testing.F) {
	plain := func(file *controlFile, text string) map[string]uint64 {
		m := make(map[string]uint64)
		for line := range strings.Lines(text) {
			words := splitBlanks(line)
			if len(words) == 0 || !slices.Contains(file.keys, words[0]) {
				continue
			}
			i := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "total=") })
			m[file.name+" "+words[0]], _ = strconv.ParseUint(words[i][len("total="):], 10, 64)
		}
		return m
	}
	format := func(m map[string]uint64, file *controlFile) string {
		text := ""
		for _, kind := range []string{"some", "full"} {
			if total, ok := m[file.name+" "+kind]; ok {
				text += fmt.Sprintf("%s avg10=0.11 avg60=4.04 avg300=1.97 total=%d\n", kind, total)
			}
		}
		return text
	}
	fuzzFiles(f, []string{"cpu.pressure", "memory.pressure", "io.pressure"}, plain, format)
}

func FuzzParseCPUMax(f *testing.F) {
	plain := func(_ *controlFile, text string) map[string]uint64 {
		words := splitBlanks(text)
		quota, _ := strconv.ParseUint(words[0], 10, 64)
		if words[0] == "max" {
			quota = Unlimited
		}
		period, _ := strconv.ParseUint(words[1], 10, 64)
		return map[string]uint64{"cpu.max quota": quota, "cpu.max period": period}
	}
	format := func(m map[string]uint64, _ *controlFile) string {
		return fmt.Sprintf("%s %d\n", formatNumber(m["cpu.max quota"], true), m["cpu.max period"])
	}
	fuzzFiles(f, []string{"cpu.max"}, plain, format)
}

func FuzzParseIOStat(f *testing.F) {
	plain := func(file *controlFile, text string) map[string]uint64 {
		m := make(map[string]uint64)
		for _, key := range file.keys {
			m["io.stat "+key] = 0
		}
		for line := range strings.Lines(text) {
			for _, word := range splitBlanks(line) {
				key, value, _ := strings.Cut(word, "=")
				if slices.Contains(file.keys, key) {
					v, _ := strconv.ParseUint(value, 10, 64)
					sum := m["io.stat "+key] + v
					if sum < v {
						sum = Unlimited // the sum stays at the highest number
					}
					m["io.stat "+key] = sum
				}
			}
		}
		return m
	}
	format := func(m map[string]uint64, file *controlFile) string {
		line := "8:0"
		for _, key := range file.keys {
			line += fmt.Sprintf(" %s=%d", key, m["io.stat "+key])
		}
		return "253:7\n" + line + "\n"
	}
	f.Add(uint8(0), []byte("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n253:1 8:16 rbytes=18446744073709551615\n"))
	fuzzFiles(f, []string{"io.stat"}, plain, format)
}

// splitBlanks is strings.Fields for blanks and newlines only.
func splitBlanks(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\n' })
}

// FuzzParseProcs checks that it does not matter in which pieces a file comes.
func FuzzParseProcs(f *testing.F) {
	for _, text := range fixturetree.Texts(f, "cgroup.procs") {
		f.Add(text, uint16(3))
	}
	f.Add([]byte("1\n22\n0\n333\n4194304"), uint16(4))
	f.Add([]byte(strings.Repeat("0", 101)+"\n"), uint16(101)) // found by fuzzing: a line too long to wait for its end
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		whole, rest, err := parseProcs(text, true, nil)
		if len(rest) != 0 {
			t.Errorf("rest %q at the end of the text", rest)
		}
		if slices.ContainsFunc(whole, func(pid int) bool { return pid <= 0 }) {
			t.Errorf("%q gives %v: not all of them process ids", text, whole)
		}
		at := min(int(cut), len(text))
		pieces, rest, err1 := parseProcs(text[:at], false, nil)
		if !bytes.HasSuffix(text[:at], rest) || bytes.IndexByte(rest, '\n') >= 0 {
			t.Errorf("rest %q of %q is no unfinished line", rest, text[:at])
		}
		if err1 == nil {
			pieces, _, err1 = parseProcs(append(bytes.Clone(rest), text[at:]...), true, pieces)
		}
		if (err == nil) != (err1 == nil) {
			t.Errorf("whole gives error %v, in two pieces %v", err, err1)
		}
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("(-whole +pieces):\n%s", diff)
		}
	})
}
