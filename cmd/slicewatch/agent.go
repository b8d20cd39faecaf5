// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/slicewatch/slicewatch/agent"
	"github.com/slicewatch/slicewatch/agent/config"
)

func agentCommand(app *kingpin.Application) subcommand {
	clause := app.Command("agent", agentHelp).Default()
	flags := config.Register(clause)
	printOnly := clause.Flag("config.print", "Print the settings that result, as a configuration file, and exit.").Bool()
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		settings, ok := loadSettings(in, flags)
		if !ok {
			return exitUsage
		}
		if *printOnly {
			return report(in.stderr, settings.WriteYAML(in.stdout))
		}
		return runAgent(ctx, in, settings)
	}}
}

// loadSettings returns the configuration, or tells the user what is wrong.
func loadSettings(in invocation, flags *config.Flags) (config.Config, bool) {
	settings, warnings, err := config.Load(config.Sources{Environ: in.environ, Flags: flags, Hostname: os.Hostname})
	for _, warning := range warnings {
		fmt.Fprintf(in.stderr, "slicewatch: warning: %s\n", warning)
	}
	if err != nil {
		fmt.Fprintf(in.stderr, "slicewatch: wrong settings:\n%v\n", err)
		return config.Config{}, false
	}
	return settings, true
}

func runAgent(ctx context.Context, in invocation, settings config.Config) int {
	logger := newLogger(in.stderr, settings.Log)
	limitSelf(logger, settings.MaxProcs)
	logger.Info("starting slicewatch", "version", in.build.Version, "revision", in.build.Revision, "node", settings.NodeName)
	agent.HandOverGlobalLog(logger)
	node, err := agent.New(settings, logger, in.build)
	if err == nil {
		err = node.Run(ctx)
	}
	return report(in.stderr, err)
}

// newLogger returns the process's logger. The settings were checked when they
// were loaded, with the same words that promslog takes.
func newLogger(w io.Writer, settings config.Log) *slog.Logger {
	level, format := promslog.NewLevel(), promslog.NewFormat()
	_, _ = level.Set(settings.Level), format.Set(settings.Format)
	return promslog.New(&promslog.Config{Level: level, Format: format, Writer: w})
}

// memoryShare is how much of its memory limit the agent's Go heap and stacks
// may take. The rest is for what the Go runtime does not count: the binary's
// pages and kernel buffers of the files that are kept open.
const memoryShare = 0.9

// limitSelf holds the process to its share of the node: a soft memory limit
// from its own cgroup, and at most maxProcs threads of Go code at once.
func limitSelf(logger *slog.Logger, maxProcs int) {
	if maxProcs > 0 && runtime.GOMAXPROCS(0) > maxProcs {
		runtime.GOMAXPROCS(maxProcs)
	}
	// Outside a cgroup with a memory limit there is nothing to hold to, which
	// the library would log as an error if it had a logger.
	if limit, err := memlimit.Set(memlimit.WithRatio(memoryShare)); err != nil {
		logger.Debug("no memory limit to keep to", "reason", err)
	} else {
		logger.Debug("keeping to the memory limit", "bytes", limit)
	}
}

// report prints an error if there is one and returns the exit status.
func report(stderr io.Writer, err error) int {
	if err != nil {
		fmt.Fprintf(stderr, "slicewatch: %v\n", err)
		return exitFailed
	}
	return exitOK
}
