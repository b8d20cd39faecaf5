// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

func TestConsoleFindsMarks(t *testing.T) {
	tests := map[string]struct {
		text    string
		ready   bool
		failure string
	}{
		"nothing":    {text: "[    0.1] hello\r\n"},
		"ready":      {text: "[    0.1] hello\r\n" + wire.ReadyLine + "\r\n", ready: true},
		"cut off":    {text: wire.ReadyLine},
		"panic":      {text: "[    1.2] Kernel panic - not syncing: sysrq triggered crash\n", failure: "sysrq triggered crash"},
		"first wins": {text: "[ 1.2] Internal error: Oops: 96000004\n[ 1.3] Kernel panic - not syncing: Fatal\n", failure: "Oops: 96000004"},
		"init":       {text: wire.FailedPrefix + "mount proc on /proc: no such device\n", failure: "gave up: mount proc"},
		"stall":      {text: "[ 21.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n[ 22.0] watchdog: BUG: soft lockup - CPU#0\n"},
		"OOM kill":   {text: "[    9.1] Out of memory: Killed process 77 (hog)\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var mirror bytes.Buffer
			c := newConsole(&mirror)
			// Byte by byte: marks must be found across writes.
			for i := range len(test.text) {
				if _, err := c.Write([]byte(test.text[i : i+1])); err != nil {
					t.Fatal(err)
				}
			}
			ready := false
			select {
			case <-c.ready:
				ready = true
			default:
			}
			if ready != test.ready {
				t.Errorf("ready %v, want %v", ready, test.ready)
			}
			if got := c.Failure(); (got == "") != (test.failure == "") || !strings.Contains(got, test.failure) {
				t.Errorf("failure %q, want one with %q", got, test.failure)
			}
			if mirror.String() != test.text {
				t.Errorf("mirrored %q, want %q", mirror.String(), test.text)
			}
		})
	}
}

func TestConsoleIsBounded(t *testing.T) {
	c := newConsole(nil)
	line := strings.Repeat("x", 10_000) + "\n"
	for range 500 {
		if _, err := c.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if got := len(c.Text()); got > 2*consoleKeepBytes || got < consoleKeepBytes {
		t.Errorf("%d bytes are kept, want about %d", got, consoleKeepBytes)
	}
	if len(c.line) > consoleLineBytes {
		t.Errorf("a line of %d bytes is kept, want %d at most", len(c.line), consoleLineBytes)
	}
	if !strings.HasSuffix(c.Text(), "the end") || !strings.Contains(c.Tail(), "the end") {
		t.Error("the end is not there")
	}
}
