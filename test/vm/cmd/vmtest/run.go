// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slicewatch/slicewatch/test/vm"
	"github.com/slicewatch/slicewatch/test/vm/gotest"
)

const modulePath = "github.com/slicewatch/slicewatch"

// run goes through the matrix. Everything that takes long says so on messages;
// out gets the results, the summary last. ok is false if any test failed.
func run(ctx context.Context, o options, out, messages io.Writer) (ok bool, err error) {
	if o.list {
		return true, listMatrix(o, out)
	}
	dir, err := os.MkdirTemp("", "slicewatch-vmtest-")
	if err != nil {
		return false, fmt.Errorf("make a folder for test binaries: %w", err)
	}
	defer os.RemoveAll(dir)
	total, err := runMatrix(ctx, o, dir, out, messages)
	if err == nil && total.Total() == 0 {
		err = fmt.Errorf("no test matches -run %q", o.test.Run)
	}
	fmt.Fprintln(out, total)
	return total.Failed == 0, err
}

func runMatrix(ctx context.Context, o options, dir string, out, messages io.Writer) (total gotest.Counts, err error) {
	for _, arch := range o.arches {
		binaries, err := build(ctx, o, arch, dir, messages)
		if err != nil {
			return total, err
		}
		commands, err := buildCommands(ctx, o, arch, dir)
		if err != nil {
			return total, err
		}
		for _, suite := range o.suites {
			printer := gotest.Printer{Out: out, Prefix: modulePath, SkipIsFailure: o.noSkip, Verbose: o.verbose}
			if err := runMachine(ctx, o, config(o, arch, suite, binaries, commands, messages), binaries, &printer); err != nil {
				// A result like others: the next machine may still tell something.
				reason := err.Error()
				if printer.Counts.Failed > 0 {
					// The test that it happened to has shown the console already.
					reason, _, _ = strings.Cut(reason, "\n")
				}
				printer.Report(gotest.Result{Package: "machine", Test: arch + " " + suite, Status: gotest.Fail, Output: reason})
			}
			fmt.Fprintf(out, "%s %s: %s\n", arch, suite, printer.Counts)
			total.Add(printer.Counts)
			if ctx.Err() != nil {
				return total, errors.New("interrupted")
			}
		}
	}
	return total, nil
}

func build(ctx context.Context, o options, arch, dir string, messages io.Writer) ([]gotest.Binary, error) {
	fmt.Fprintf(messages, "building the tests for %s\n", arch)
	binaries, untested, err := gotest.Build(ctx, arch, dir, o.packages)
	if err != nil {
		return nil, err
	}
	for _, name := range untested {
		fmt.Fprintf(messages, "%s has no tests\n", name)
	}
	if len(binaries) == 0 {
		return nil, fmt.Errorf("no package of %s has tests", strings.Join(o.packages, " "))
	}
	return binaries, nil
}

// buildCommands builds the commands that tests run, and returns where in the
// guest each file on the host belongs.
func buildCommands(ctx context.Context, o options, arch, dir string) (map[string]string, error) {
	files := map[string]string{}
	for _, pkg := range o.commands {
		name := path.Base(pkg)
		file := filepath.Join(dir, arch+"-"+name)
		if err := gotest.BuildCommand(ctx, arch, file, pkg); err != nil {
			return nil, err
		}
		files["/bin/"+name] = file
	}
	return files, nil
}

func listMatrix(o options, out io.Writer) error {
	for _, arch := range o.arches {
		for _, suite := range o.suites {
			if _, err := fmt.Fprintf(out, "%s %s: %s\n", arch, suite, strings.Join(o.packages, " ")); err != nil {
				return fmt.Errorf("print the matrix: %w", err)
			}
		}
	}
	return nil
}

// config gives a machine the binaries, their testdata and the commands that
// they run, and memory for them.
func config(o options, arch, suite string, binaries []gotest.Binary, commands map[string]string, messages io.Writer) vm.Config {
	cfg := vm.Config{
		Arch: arch, Suite: suite, MemoryMiB: o.memoryMiB, CPUs: o.cpus, SwapMiB: o.swapMiB,
		InstructionClock: o.icount, ClockShift: o.clockShift, Append: o.appendWords, Refresh: o.refresh,
		Files: map[string]string{}, Dirs: map[string]string{}, Progress: messages,
	}
	if o.verbose {
		cfg.Console = messages
	}
	for _, b := range binaries {
		cfg.Files[b.GuestPath()] = b.Path
		if b.TestdataDir != "" {
			cfg.Dirs[path.Join(b.GuestDir, "testdata")] = b.TestdataDir
		}
	}
	maps.Copy(cfg.Files, commands)
	for _, file := range cfg.Files {
		// Twice while the kernel unpacks them; a file that is missing is
		// reported when it is put into the machine.
		if info, err := os.Stat(file); err == nil {
			cfg.MemoryMiB += int(2 * info.Size() >> 20)
		}
	}
	return cfg
}

// runMachine boots one machine and runs all binaries in it, one after another.
func runMachine(ctx context.Context, o options, cfg vm.Config, binaries []gotest.Binary, printer *gotest.Printer) error {
	machine, err := vm.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(printer.Out, "%s %s: Linux %s, booted in %.1fs\n", cfg.Arch, cfg.Suite,
		machine.Kernel().Release, machine.BootTime().Seconds())
	expected := make([][]string, len(binaries))
	for i, b := range binaries {
		if expected[i], err = gotest.List(ctx, machine, b, o.test); err != nil {
			return errors.Join(err, machine.Close())
		}
	}
	for i, b := range binaries {
		if err := machine.Err(); err != nil {
			gotest.NeverRan(b, expected[i], errors.New("the machine did not live that long"), printer.Report)
			continue
		}
		if err := gotest.Run(ctx, machine, b, o.test, expected[i], printer.Report); err != nil {
			return errors.Join(err, machine.Close())
		}
	}
	return machine.Close()
}
