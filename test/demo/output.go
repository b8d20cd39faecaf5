// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// keepLines is how much of a program's output is kept to explain its end.
const keepLines = 15

// output splits what a program writes into lines, keeps the last ones and
// passes on those that show is true for. It may be written to by several
// goroutines.
type output struct {
	name string
	to   io.Writer
	show func(line string) bool
	// awaited closes seen when a line starts with it.
	awaited string
	seen    chan struct{}

	mu     sync.Mutex
	part   []byte
	recent []string
	found  bool
}

func newOutput(name string, to io.Writer, awaited string, show func(string) bool) *output {
	return &output{name: name, to: to, show: show, awaited: awaited, seen: make(chan struct{})}
}

// Write implements io.Writer; it never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, p...)
	for {
		line, rest, complete := bytes.Cut(o.part, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		o.line(strings.TrimRight(string(line), "\r"))
		o.part = rest
	}
}

func (o *output) line(line string) {
	o.recent = append(o.recent, line)
	if len(o.recent) > keepLines {
		o.recent = o.recent[1:]
	}
	if o.awaited != "" && !o.found && strings.HasPrefix(line, o.awaited) {
		o.found = true
		close(o.seen)
	}
	if o.show(line) {
		fmt.Fprintf(o.to, "  %s: %s\n", o.name, line)
	}
}

// tail returns the last lines, to be put behind an error.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.recent) == 0 {
		return "it said nothing"
	}
	return "it said last:\n\t" + strings.Join(o.recent, "\n\t")
}
