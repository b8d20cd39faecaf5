// SPDX-License-Identifier: Apache-2.0

// Command demo shows slicewatch on a made-up small cluster with real troubles:
// it boots a virtual machine, runs the cluster's processes (test/kubetree) and
// the agent in it, and makes the agent reachable on this machine until it is
// interrupted. It owns what the user of `make demo` sees. It must not know how
// a machine boots (package vm) or how the cluster is made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	arch, suite string
	port        int
	runFor      time.Duration
	every       time.Duration
	verbose     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	if err := run(ctx, opts, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.arch, "arch", "arm64", "architecture of the machine: arm64 or amd64")
	flags.StringVar(&o.suite, "suite", "trixie", "Debian release of its kernel: bookworm (6.1) or trixie (6.12)")
	flags.IntVar(&o.port, "port", 9779, "port on this machine's 127.0.0.1 for the agent's page and metrics")
	flags.DurationVar(&o.runFor, "for", 0, "end by itself after this time, and fail if the demo did not work; 0 is until interrupted")
	flags.DurationVar(&o.every, "every", 30*time.Second, "time between two status lines")
	flags.BoolVar(&o.verbose, "verbose", false, "print all that the cluster and the agent say")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if o.port < 1 || o.port > 65535 {
		return o, fmt.Errorf("--port=%d: ports are 1 to 65535", o.port)
	}
	if o.every <= 0 {
		return o, fmt.Errorf("--every=%v: want more than 0", o.every)
	}
	return o, nil
}
