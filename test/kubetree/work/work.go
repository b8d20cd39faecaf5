// SPDX-License-Identifier: Apache-2.0

package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Verb is the first argument that makes Main run a workload.
const Verb = "work"

// GateFD is the descriptor on which a gated workload writes one byte and then
// waits for end of file before it does anything, so that whoever made the
// process can finish setting it up (its oom_score_adj) first, as a runtime
// does between create and start.
const GateFD = 3

// Command is a workload and its arguments.
type Command struct {
	// Kind is one of Kinds.
	Kind string
	// Args are "key=value" words.
	Args []string
}

// Cmd builds a Command from one line: "spin threads=2 cpu=100ms".
func Cmd(line string) Command {
	words := strings.Fields(line)
	if len(words) == 0 {
		return Command{}
	}
	return Command{Kind: words[0], Args: words[1:]}
}

// String returns the command as one line.
func (c Command) String() string {
	return strings.Join(append([]string{c.Kind}, c.Args...), " ")
}

// Argv returns the arguments (without a program name) that make Main run c,
// behind the gate if gated.
func (c Command) Argv(gated bool) []string {
	argv := []string{Verb}
	if gated {
		argv = append(argv, gateFlag)
	}
	return append(append(argv, c.Kind), c.Args...)
}

const gateFlag = "-gate"

// Kind describes one workload.
type Kind struct {
	Name string
	// Does says in one line what the workload does to its cgroup.
	Does string
	// Defaults are all arguments it takes, as "key=value" words.
	Defaults string
	run      func(context.Context, *params) error
}

// Kinds returns every workload in the order of the documentation.
func Kinds() []Kind {
	return slices.Concat(cpuKinds(), arrivalKinds(), memoryKinds(), processKinds())
}

// Main runs a workload if args (without the program name) ask for one; ok says
// whether they did. The exit code is 0 when the workload ended by itself, 2
// for arguments it does not take, and what "exit" was told.
func Main(args []string, stderr io.Writer) (code int, ok bool) {
	if len(args) == 0 || args[0] != Verb {
		return 0, false
	}
	err := run(context.Background(), args[1:])
	if err == nil {
		return 0, true
	}
	if exit := (exitError{}); errors.As(err, &exit) {
		return exit.code, true
	}
	fmt.Fprintf(stderr, "%s: %v\n", strings.Join(args, " "), err)
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return 2, true
	}
	return 1, true
}

func run(ctx context.Context, args []string) error {
	// A collection at a time of its own would blur what the workload uses.
	debug.SetGCPercent(-1)
	if len(args) > 0 && args[0] == gateFlag {
		if err := passGate(); err != nil {
			return err
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return &usageError{"no workload given; one of " + kindNames()}
	}
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == args[0] })
	if i < 0 {
		return &usageError{fmt.Sprintf("no workload %q; one of %s", args[0], kindNames())}
	}
	p, err := parseParams(all[i], args[1:])
	if err != nil {
		return err
	}
	if err := setCommandName(p.text("comm")); err != nil {
		return err
	}
	if p.err != nil {
		return p.err
	}
	return all[i].run(ctx, p)
}

func kindNames() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	return strings.Join(names, ", ")
}

func passGate() error {
	gate := os.NewFile(GateFD, "gate")
	if gate == nil {
		return errors.New("wait at the gate: descriptor 3 is not open")
	}
	defer gate.Close()
	if _, err := gate.Write([]byte{0}); err != nil {
		return fmt.Errorf("say that the gate is reached: %w", err)
	}
	if _, err := io.Copy(io.Discard, gate); err != nil {
		return fmt.Errorf("wait at the gate: %w", err)
	}
	return nil
}

// setCommandName makes ps, and the kernel's OOM record, show name.
func setCommandName(name string) error {
	if name == "" {
		return nil
	}
	// /proc/self is the process, so this names the main thread whichever
	// thread runs this; prctl would name the calling one.
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return fmt.Errorf("set the command name to %q: %w", name, err)
	}
	return nil
}

// again returns a command that runs c in a process of its own, in the cgroup
// of this one.
func again(ctx context.Context, c Command) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", c.Argv(false)...)
	cmd.Stderr = os.Stderr
	return cmd
}

type exitError struct{ code int }

func (e exitError) Error() string { return "exit code " + strconv.Itoa(e.code) }

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// forever blocks until ctx ends without using any CPU.
func forever(ctx context.Context) {
	// Waiting for a context that never ends would be a deadlock to the Go
	// runtime; a sleep is none.
	for ctx.Err() == nil {
		sleep(ctx, 24*time.Hour)
	}
}
