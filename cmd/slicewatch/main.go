// SPDX-License-Identifier: Apache-2.0

// Command slicewatch is a node agent that reads the cgroups of Kubernetes pods
// and exports what they say, and a few tools around that agent. This package
// owns the words of the command line, the process's signals and its exit
// status. It must not know how anything is done: the agent package wires that.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/agent/version"
)

// Set by the linker, see the Makefile.
var linkedVersion, linkedRevision string

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // the command line or the configuration is wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// Once the first signal is there, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, invocation{
		args:    os.Args[1:],
		environ: os.Environ(),
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		build:   version.Get(linkedVersion, linkedRevision),
	}))
}

// invocation is all that a subcommand gets from the process.
type invocation struct {
	args, environ  []string
	stdout, stderr io.Writer
	build          version.Info
}

// subcommand is one word of the command line.
type subcommand struct {
	clause *kingpin.CmdClause
	run    func(context.Context, invocation) int
}

// run runs the subcommand that the arguments name and returns the exit status.
func run(ctx context.Context, in invocation) int {
	status, ended := exitOK, false
	app := kingpin.New("slicewatch", appHelp).Version(in.build.String())
	app.UsageWriter(in.stdout).ErrorWriter(in.stderr).UsageTemplate(kingpin.CompactUsageTemplate)
	// kingpin calls this after it printed help or the version. It would end
	// the process, here it only keeps the subcommand from running.
	app.Terminate(func(code int) { status, ended = code, true })
	app.HelpFlag.Short('h')
	commands := []subcommand{
		agentCommand(app), doctorCommand(app), oomsCommand(app), livesCommand(app), hintsCommand(app), metricsCommand(app), probeCommand(app),
		versionCommand(app),
	}

	name, err := app.Parse(in.args)
	switch {
	case ended:
		return status
	case err != nil:
		fmt.Fprintf(in.stderr, "slicewatch: %v; see slicewatch --help\n", err)
		return exitUsage
	}
	for _, command := range commands {
		if command.clause.FullCommand() == name {
			return command.run(ctx, in)
		}
	}
	return exitUsage
}
