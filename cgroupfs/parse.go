// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"fmt"
	"math"
)

// parser takes the whole text of a control file and sets the file's fields in
// the Reading: those that the text has become present, the others absent. It
// touches no field of another file. On an error all of the file's fields are
// absent. It keeps no reference to the text.
type parser func(file *controlFile, text []byte, into *Reading) *ParseError

// ParseError says that a control file does not have the form that the kernel
// documents. It means a kernel newer than this code, or a path that is no
// cgroup; nobody can mend it on the node.
type ParseError struct {
	Cgroup  string // path of the cgroup, as in Cgroup.Path; empty if the text came from elsewhere
	File    string // name of the control file, for example "cpu.stat"
	Line    string // the line that is wrong, cut after maxExcerptBytes
	Problem string // what is wrong with it
}

// maxExcerptBytes bounds what an error message quotes: every line that the
// kernel writes into the files we read is either shorter or recognisable by then.
const maxExcerptBytes = 80

// Error quotes the line, so that control characters in it do no harm in a log.
func (e *ParseError) Error() string {
	dir := e.Cgroup
	if dir != "" && dir != "/" {
		dir += "/"
	}
	return fmt.Sprintf("parse %s%s: line %q: %s", dir, e.File, e.Line, e.Problem)
}

// garbage makes all fields of the file absent and returns the error for line.
func (file *controlFile) garbage(line []byte, problem string, into *Reading) *ParseError {
	file.unset(into)
	return &ParseError{
		File:    file.name,
		Line:    string(line[:min(len(line), maxExcerptBytes)]),
		Problem: problem,
	}
}

const (
	notANumber = "value is no number from 0 to 18446744073709551615"
	keyTwice   = "key is there twice"
)

// parseValue parses a file that holds one number, or "max" if the field is a
// limit: memory.current, memory.max, pids.max.
// Kernel: kernel/cgroup/cgroup.c and mm/memcontrol.c, seq_puts_memcg_tunable.
func parseValue(file *controlFile, text []byte, into *Reading) *ParseError {
	file.unset(into)
	line, rest := cutLine(text)
	value, ok := parseLimit(line, file.mayBeMax)
	if !ok {
		return file.garbage(line, notANumber, into)
	}
	if len(rest) > 0 {
		return file.garbage(rest, "text after the only value", into)
	}
	into.Set(file.fields[0], value)
	return nil
}

// parseFlatKeyed parses lines of "KEY VALUE", in any order: cpu.stat,
// memory.stat, memory.events. Keys that no Field names are skipped with
// whatever value they have, because every kernel adds some.
// Kernel: "flat keyed" in Documentation/admin-guide/cgroup-v2.rst.
func parseFlatKeyed(file *controlFile, text []byte, into *Reading) *ParseError {
	file.unset(into)
	// Kernels differ in which keys they have but hardly in their order, so the
	// search for a key starts behind the one found last.
	next := 0
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, value, ok := cutByte(line, ' ')
		if !ok || len(key) == 0 {
			return file.garbage(line, "not of the form KEY VALUE", into)
		}
		i := file.indexOf(key, next)
		if i < 0 {
			continue
		}
		next = i + 1
		n, ok := parseUint(value)
		if !ok {
			return file.garbage(line, notANumber, into)
		}
		if into.Has(file.fields[i]) {
			return file.garbage(line, keyTwice, into)
		}
		into.Set(file.fields[i], n)
	}
	return nil
}

// parseLimit parses a number, or "max" if that is allowed here.
func parseLimit(text []byte, mayBeMax bool) (value uint64, ok bool) {
	if mayBeMax && string(text) == "max" {
		return Unlimited, true
	}
	return parseUint(text)
}

// parseUint parses decimal digits and nothing else. strconv.ParseUint takes a
// string, and its errors allocate.
func parseUint(digits []byte) (value uint64, ok bool) {
	if len(digits) == 0 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' || value > math.MaxUint64/10 {
			return 0, false
		}
		value *= 10
		d := uint64(c - '0')
		if value > math.MaxUint64-d {
			return 0, false
		}
		value += d
	}
	return value, true
}

// cutLine returns the first line of text without its newline, which the last
// line may lack, and the text behind it.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = cutByte(text, '\n')
	return line, rest
}

// cutByte is bytes.Cut with a separator of one byte.
func cutByte(text []byte, separator byte) (before, after []byte, found bool) {
	if i := bytes.IndexByte(text, separator); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, nil, false
}

// cutWord returns the first word of a line and the rest; words are separated by
// any number of blanks. The word is empty when there is no further one.
func cutWord(line []byte) (word, rest []byte) {
	word, rest, _ = cutByte(bytes.TrimLeft(line, " "), ' ')
	return word, rest
}
