// SPDX-License-Identifier: Apache-2.0

// Command kubetree makes kubepods trees with real processes, for benchmarks
// and the demo. It needs root, on a throw-away machine without Kubernetes. It
// owns the command line; trees are package kubetree's and the demo's pods
// package cluster's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

func main() {
	// First, and without parsing a command line: each made-up process is one
	// more run of this program.
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kubetree:", err)
		os.Exit(1)
	}
}

type flags struct {
	root, driver, runtime, cgroupRoot string
	seed                              uint64
	memoryQoS                         bool
	pods, containers                  int
	watch, every, life                time.Duration
}

func run(ctx context.Context, args []string) error {
	app := kingpin.New("kubetree", "Makes kubepods trees with real processes. Needs root on a machine without Kubernetes.")
	var f flags
	app.Flag("root", "Where the cgroup v2 file system is.").Default("/sys/fs/cgroup").StringVar(&f.root)
	app.Flag("driver", "Cgroup driver.").Default("systemd").EnumVar(&f.driver, "systemd", "cgroupfs")
	app.Flag("runtime", "Container runtime.").Default("containerd").EnumVar(&f.runtime, "containerd", "cri-o", "docker", "plain")
	app.Flag("cgroup-root", "The kubelet's flag of this name: /kubelet as in kind.").StringVar(&f.cgroupRoot)
	app.Flag("seed", "Makes pods' UIDs and containers' ids.").Default("1").Uint64Var(&f.seed)
	app.Flag("memory-qos", "Set memory.high, .min and .low.").Default("true").BoolVar(&f.memoryQoS)
	commands := map[string]func(context.Context, flags) error{
		app.Command("demo", "A small made-up cluster with troubles, until interrupted.").FullCommand(): demo,
		app.Command("names", "What the demo's pod UIDs stand for.").FullCommand():                      names,
		app.Command("works", "What the workloads of \"kubetree work\" do.").FullCommand():              works,
		frozenCommand(app, &f): frozen,
		churnCommand(app, &f):  churn,
	}
	// Only for the help: Main has taken it.
	app.Command(work.Verb, "Run a workload in this process; see works.")
	name, err := app.Parse(args)
	if err != nil {
		return err
	}
	return commands[name](ctx, f)
}

func frozenCommand(app *kingpin.Application, f *flags) string {
	c := app.Command("frozen", "A tree where a little of everything happened, frozen so that no counter moves, until interrupted.")
	c.Flag("pods", "How many pods.").Default("110").IntVar(&f.pods)
	c.Flag("containers", "How many containers each, beside the sandbox.").Default("2").IntVar(&f.containers)
	c.Flag("watch", "Say what moves all the same within this time, and end.").DurationVar(&f.watch)
	return c.FullCommand()
}

func churnCommand(app *kingpin.Application, f *flags) string {
	c := app.Command("churn", "Pods of one container that come and go, until interrupted.")
	c.Flag("every", "Time between two pods that come.").Default("1s").DurationVar(&f.every)
	c.Flag("life", "How long each stays.").Default("30s").DurationVar(&f.life)
	return c.FullCommand()
}

func (f flags) spec() kubetree.Spec {
	return kubetree.Spec{
		Driver: kubetree.Driver(f.driver), Runtime: kubetree.Runtime(f.runtime), CgroupRoot: f.cgroupRoot,
		Seed: f.seed, MemoryQoS: f.memoryQoS,
	}
}

func names(context.Context, flags) error {
	_, err := fmt.Print(cluster.Legend())
	return err
}

func works(context.Context, flags) error {
	for _, k := range work.Kinds() {
		if _, err := fmt.Printf("%-8s %s\n         %s comm=\n", k.Name, k.Does, k.Defaults); err != nil {
			return err
		}
	}
	return nil
}

// withTree makes a tree for f and removes it after body.
func withTree(f flags, body func(*kubetree.Tree) error) error {
	tree, err := kubetree.New(f.root, f.spec())
	if err != nil {
		return err
	}
	return errors.Join(body(tree), tree.Close())
}
