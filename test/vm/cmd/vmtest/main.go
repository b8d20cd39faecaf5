// SPDX-License-Identifier: Apache-2.0

// Command vmtest runs the tests of packages inside machines with real kernels,
// one machine for each architecture and Debian release:
//
//	go run ./test/vm/cmd/vmtest -arch arm64,amd64 -suite bookworm,trixie ./cgroupfs ./bpf
//
// It owns flags and the order of things. It must not know how a machine boots
// (package vm) or how tests are judged (package gotest).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/slicewatch/slicewatch/test/vm/gotest"
)

// options are the command line.
type options struct {
	arches, suites []string
	packages       []string
	test           gotest.Options
	icount         bool
	clockShift     int
	noSkip         bool
	verbose        bool
	list           bool
	refresh        bool
	memoryMiB      int
	cpus           int
	swapMiB        int
	appendWords    []string
	commands       []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(2)
	}
	ok, err := run(ctx, opts, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func parse(args []string, messages io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, "usage: vmtest [flags] PACKAGE...\n\nRuns the tests of packages in machines with real kernels, one for each -arch and -suite.\n\n")
		flags.PrintDefaults()
	}
	arches := flags.String("arch", "arm64", "architectures, with commas: arm64, amd64")
	suites := flags.String("suite", "trixie", "Debian releases, with commas: bookworm (Linux 6.1), trixie (6.12), sid")
	words := flags.String("append", "", "further words of the kernel's command line")
	commands := flags.String("commands", "", "main packages, with commas, that are built and put into /bin of the machines for the tests to run")
	flags.StringVar(&o.test.Run, "run", "", "run only tests that match, as go test's -run")
	flags.DurationVar(&o.test.Timeout, "timeout", 10*time.Minute, "bound of each test binary, by the machine's clock")
	flags.BoolVar(&o.test.Short, "short", false, "as go test's -short")
	flags.BoolVar(&o.icount, "icount", false, "drive the machine's clock by its instructions: repeatable CPU times")
	flags.IntVar(&o.clockShift, "shift", 0, "with -icount: an instruction takes 2^shift ns, so that the machine's time passes faster")
	flags.BoolVar(&o.noSkip, "noskip", false, "count a skipped test as failed")
	flags.BoolVar(&o.verbose, "v", false, "show the machines' consoles, and what tests log although they pass")
	flags.BoolVar(&o.list, "list", false, "show the machines and packages, run nothing")
	flags.BoolVar(&o.refresh, "refresh", false, "ask the mirror for newer kernels")
	flags.IntVar(&o.memoryMiB, "memory", 1024, "memory of a machine in MiB, besides the test binaries'")
	flags.IntVar(&o.cpus, "cpus", 0, "processors of a machine (default 2, with -icount 1)")
	flags.IntVar(&o.swapMiB, "swap", 0, "swap space of a machine in MiB")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.arches, o.suites = split(*arches), split(*suites)
	o.appendWords = strings.Fields(*words)
	o.commands = split(*commands)
	o.packages = flags.Args()
	if len(o.packages) == 0 {
		return o, errors.New("name the packages to test, for example ./cgroupfs; -help tells more")
	}
	if len(o.arches) == 0 || len(o.suites) == 0 {
		return o, errors.New("-arch and -suite need at least one value each")
	}
	return o, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
