// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/vm"
)

// graceTime is how long a binary may go on after its own time limit, which
// prints every goroutine's stack and ends it.
const graceTime = time.Minute

// Runner runs a command where the tests are to run: a *vm.Machine.
type Runner interface {
	Run(ctx context.Context, c vm.Command, stdout, stderr io.Writer) (exitCode int, err error)
}

// Options are the flags of `go test` that a test binary is given.
type Options struct {
	// Run selects tests, as go test's -run.
	Run string
	// Timeout bounds each binary, in the guest's time.
	Timeout time.Duration
	// Short is go test's -short.
	Short bool
}

// List asks a binary for the tests that it is going to run.
func List(ctx context.Context, runner Runner, b Binary, o Options) ([]string, error) {
	top, _, _ := strings.Cut(o.Run, "/")
	if top == "" {
		top = "."
	}
	var out bytes.Buffer
	cmd := vm.Command{Path: b.GuestPath(), Args: []string{"-test.list=" + top}, Dir: b.GuestDir, MergeOutput: true}
	code, err := runner.Run(ctx, cmd, &out, nil)
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", b.Package, err)
	}
	if code != 0 {
		return nil, fmt.Errorf("list the tests of %s: exit status %d\n%s", b.Package, code, out.String())
	}
	return testNames(out.String()), nil
}

// testNames keeps what runs without being asked for: not benchmarks, and not
// what a TestMain may have printed.
func testNames(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		name := strings.TrimSpace(line)
		for _, prefix := range []string{"Test", "Fuzz", "Example"} {
			if strings.HasPrefix(name, prefix) && !strings.ContainsAny(name, " \t") {
				names = append(names, name)
			}
		}
	}
	return names
}

// Run runs one binary and reports each test as it finishes, from one goroutine.
// What becomes of expected tests that the binary says nothing of is reported
// too. The error is of this side: a test's failure is no error.
func Run(ctx context.Context, runner Runner, b Binary, o Options, expected []string, report func(Result)) error {
	t := newTracker(b.Package, expected, report)
	converter, err := startConverter(ctx, b.Package, t.handle)
	if err != nil {
		return err
	}
	args := []string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + o.Timeout.String()}
	if o.Run != "" {
		args = append(args, "-test.run="+o.Run)
	}
	if o.Short {
		args = append(args, "-test.short")
	}
	limit, cancel := context.WithTimeout(ctx, o.Timeout+graceTime)
	defer cancel()
	cmd := vm.Command{Path: b.GuestPath(), Args: args, Dir: b.GuestDir, MergeOutput: true}
	code, trouble := runner.Run(limit, cmd, converter, nil)
	if errors.Is(trouble, context.DeadlineExceeded) && ctx.Err() == nil {
		trouble = fmt.Errorf("killed: it did not keep its own time limit of %v: %w", o.Timeout, trouble)
	}
	if err := converter.finish(); err != nil {
		trouble = errors.Join(trouble, err)
	}
	t.end(code, trouble)
	return nil
}

// NeverRan reports a binary that could not even be started.
func NeverRan(b Binary, expected []string, why error, report func(Result)) {
	newTracker(b.Package, expected, report).end(-1, why)
}

// converter is the go command's own reader of test output.
type converter struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer
	done   chan error
}

// startConverter starts `go tool test2json` and a goroutine that hands its
// events to handle; finish ends both.
func startConverter(ctx context.Context, pkg string, handle func(event)) (*converter, error) {
	// Without -t it leaves out how long tests took.
	c := &converter{cmd: exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", pkg), done: make(chan error, 1)}
	c.cmd.Stderr = &c.stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("read test output: %w", err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("read test output: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("read test output: %w", err)
	}
	c.in = in
	go func() { c.done <- decode(out, handle) }()
	return c, nil
}

func decode(r io.Reader, handle func(event)) error {
	for decoder := json.NewDecoder(r); ; {
		var e event
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test2json: %w", err)
		}
		handle(e)
	}
}

func (c *converter) Write(p []byte) (int, error) { return c.in.Write(p) }

func (c *converter) finish() error {
	closeErr := c.in.Close()
	decodeErr := <-c.done
	if err := errors.Join(c.cmd.Wait(), closeErr, decodeErr); err != nil {
		return fmt.Errorf("go tool test2json: %w\n%s", err, c.stderr.String())
	}
	return nil
}
