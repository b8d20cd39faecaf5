// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command cluster builds, starts and stops a Kubernetes cluster of one
// emulated node, for tests and for trying things out. It owns the words of the
// command line and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var ended *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &ended):
		// The program has said what was wrong.
		os.Exit(max(1, ended.ExitCode()))
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// word is one word of the command line.
type word struct {
	clause *kingpin.CmdClause
	// run does it without, with does it with the running cluster.
	run  func(ctx context.Context) error
	with func(ctx context.Context, c *cluster.Cluster) error
}

func run(ctx context.Context, arguments []string) error {
	app := kingpin.New("cluster", "A Kubernetes cluster of one emulated node.")
	app.HelpFlag.Short('h')
	config := &cluster.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	words := append(lifeWords(app, config), useWords(app, config)...)
	selected, err := app.Parse(keepFlags(arguments, wordKubectl, wordNode))
	if err != nil {
		return err
	}
	for _, w := range words {
		if w.clause.FullCommand() != selected {
			continue
		}
		if w.with == nil {
			return w.run(ctx)
		}
		c, err := cluster.Open(*config)
		if err != nil {
			return err
		}
		return w.with(ctx, c)
	}
	return fmt.Errorf("nothing is done for %q", selected)
}

// keepFlags makes sure that what follows one of words is not taken for flags
// of this program.
func keepFlags(arguments []string, words ...string) []string {
	if len(arguments) == 0 {
		return arguments
	}
	for _, w := range words {
		if arguments[0] == w {
			return append([]string{w, "--"}, arguments[1:]...)
		}
	}
	return arguments
}
