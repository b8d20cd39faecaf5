// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"io"
	"strings"
	"sync"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

const (
	// consoleKeepBytes is how much of the console is kept for reports. What is
	// older is dropped: the end is what explains a failure.
	consoleKeepBytes = 1 << 20
	// consoleTailBytes is how much of it goes into an error.
	consoleTailBytes = 4000
	// consoleLineBytes bounds a line that is looked at for marks.
	consoleLineBytes = 4096
)

// kernelFailures are the beginnings of what a kernel says before it cannot go
// on. A stalled or locked-up processor is not among them: under emulation that
// is the host being busy.
func kernelFailures() []string {
	return []string{
		"Kernel panic - not syncing", "Internal error: Oops", "Oops: ", "kernel BUG at",
		"BUG: unable to handle", "BUG: kernel NULL pointer", "Unable to handle kernel", "BUG: Bad page",
	}
}

// console keeps the end of what the guest prints and looks for marks in it.
type console struct {
	mirror   io.Writer
	failures []string

	mu      sync.Mutex
	kept    []byte
	dropped bool
	line    []byte
	failure string
	ready   chan struct{}
	isReady bool
}

func newConsole(mirror io.Writer) *console {
	return &console{mirror: mirror, failures: kernelFailures(), ready: make(chan struct{})}
}

// Write never fails: the emulator must not stop because nobody looks.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mirror != nil {
		_, _ = c.mirror.Write(p)
	}
	c.kept = append(c.kept, p...)
	if over := len(c.kept) - consoleKeepBytes; over > consoleKeepBytes/4 {
		c.kept = append(c.kept[:0], c.kept[over:]...)
		c.dropped = true
	}
	for _, b := range p {
		if b == '\n' || len(c.line) >= consoleLineBytes {
			c.look(string(c.line))
			c.line = c.line[:0]
		}
		if b != '\n' && b != '\r' {
			c.line = append(c.line, b)
		}
	}
	return len(p), nil
}

// look examines one line; the first failure is the one that counts.
func (c *console) look(line string) {
	if !c.isReady && strings.Contains(line, wire.ReadyLine) {
		c.isReady = true
		close(c.ready)
	}
	if c.failure != "" {
		return
	}
	if _, reason, found := strings.Cut(line, wire.FailedPrefix); found {
		c.failure = "the guest's init gave up: " + reason
		return
	}
	for _, mark := range c.failures {
		if strings.Contains(line, mark) {
			c.failure = "the guest's kernel failed: " + strings.TrimSpace(line)
			return
		}
	}
}

// Failure is why the guest cannot go on, or empty.
func (c *console) Failure() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Text is what was kept, without carriage returns.
func (c *console) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.ReplaceAll(string(c.kept), "\r", "")
	if c.dropped {
		text = "[the beginning was dropped]\n" + text
	}
	return text
}

// Tail is the end of it, indented, for an error.
func (c *console) Tail() string {
	text := strings.TrimSpace(tail(c.Text(), consoleTailBytes))
	if text == "" {
		return "the console is empty"
	}
	return "the console's end:\n  | " + strings.ReplaceAll(text, "\n", "\n  | ")
}
