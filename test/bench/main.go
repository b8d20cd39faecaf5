// SPDX-License-Identifier: Apache-2.0

// Command bench compares the agent with the usual ways to do its work, in an
// emulated machine whose clock counts instructions, so that figures repeat
// however busy the host is. It prints the tables of docs/performance.md:
//
//	go run ./test/bench
//
// It owns the machine and the command line; package guest measures.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/slicewatch/slicewatch/test/bench/benchresult"
	"github.com/slicewatch/slicewatch/test/vm"
)

const module = "github.com/slicewatch/slicewatch"

type options struct {
	arch, suite      string
	pods, containers int
	memoryMiB        int
}

func main() {
	var o options
	flag.StringVar(&o.arch, "arch", "arm64", "architecture: arm64 or amd64")
	flag.StringVar(&o.suite, "suite", "trixie", "Debian release: bookworm (Linux 6.1) or trixie (6.12)")
	flag.IntVar(&o.pods, "pods", 110, "how many pods")
	flag.IntVar(&o.containers, "containers", 2, "how many containers each, besides the sandbox")
	flag.IntVar(&o.memoryMiB, "memory", 3072, "the machine's memory in MiB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, o, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	fmt.Print(result.Markdown())
}

func run(ctx context.Context, o options, messages io.Writer) (result benchresult.Result, err error) {
	dir, err := os.MkdirTemp("", "slicewatch-bench-")
	if err != nil {
		return result, fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := map[string]string{}
	for name, pkg := range map[string]string{"slicewatch": "/cmd/slicewatch", "bench": "/test/bench/guest"} {
		files["/bin/"+name] = filepath.Join(dir, name)
		if err := build(ctx, o.arch, files["/bin/"+name], module+pkg); err != nil {
			return result, err
		}
	}
	machine, err := vm.Start(ctx, vm.Config{
		Arch: o.arch, Suite: o.suite, MemoryMiB: o.memoryMiB, Files: files, InstructionClock: true, Progress: messages,
	})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	fmt.Fprintf(messages, "Linux %s runs; the benchmarks take some minutes\n", machine.Kernel().Release)
	var out bytes.Buffer
	command := vm.Command{Path: "bench", Args: []string{fmt.Sprintf("-pods=%d", o.pods), fmt.Sprintf("-containers=%d", o.containers)}}
	code, err := machine.Run(ctx, command, &out, messages)
	if err != nil {
		return result, err
	}
	if code != 0 {
		return result, fmt.Errorf("the benchmarks ended with code %d", code)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return result, fmt.Errorf("read the benchmarks' result: %w", err)
	}
	return result, nil
}

func build(ctx context.Context, arch, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", pkg, arch, err, output)
	}
	return nil
}
