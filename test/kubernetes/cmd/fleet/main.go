// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command fleet measures what a fleet of agents that starts at once costs a
// real kube-apiserver, and prints tables for docs/performance.md. It owns the
// command line and the tables and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/fleet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) (err error) {
	app := kingpin.New("fleet", "What a fleet of agents that starts at once costs the API server.")
	app.HelpFlag.Short('h')
	var plan fleet.Plan
	app.Flag("nodes", "Number of nodes, each with its agent.").Default("1000").IntVar(&plan.Nodes)
	app.Flag("pods-per-node", "Pods of each node.").Default("20").IntVar(&plan.PodsPerNode)
	app.Flag("unfiltered", "Number of agents that ask for every pod; may be repeated.").Default("1", "10").IntsVar(&plan.Unfiltered)
	app.Flag("jitter", "The longest time that an agent waits before it asks.").Default("3s").DurationVar(&plan.Jitter)
	app.Flag("changes", "Pods that change while the agents watch.").Default("3000").IntVar(&plan.Changes)
	if _, err := app.Parse(arguments); err != nil {
		return err
	}
	plan.Agents = plan.Nodes
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	directory, err := os.MkdirTemp("", "slicewatch-fleet-cluster-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	config := cluster.Config{
		Directory: filepath.Join(directory, "cluster"), WithoutNode: true, WithoutControllers: true, Log: log,
	}
	c, err := cluster.Up(ctx, config)
	// Also after an interrupt nothing may stay behind.
	defer func() { err = errors.Join(err, cluster.Down(context.WithoutCancel(ctx), config)) }()
	if err != nil {
		return err
	}
	rows, err := fleet.Run(ctx, c.REST, server{c}, plan, log)
	printTables(plan, rows)
	return err
}

// server is the cluster's API server.
type server struct{ c *cluster.Cluster }

// Restart implements fleet.Server.
func (s server) Restart(ctx context.Context) error {
	if err := s.c.Plane.StopAPIServer(ctx); err != nil {
		return err
	}
	if err := s.c.Plane.StartAPIServer(); err != nil {
		return err
	}
	return s.c.Plane.AwaitAPIServer(ctx)
}

// PID implements fleet.Server.
func (s server) PID() (int, error) { return s.c.Plane.APIServerPID() }

func printTables(plan fleet.Plan, rows []fleet.Row) {
	fmt.Printf("%d nodes, %d pods\n\n", plan.Nodes, plan.Nodes*plan.PodsPerNode)
	fmt.Println("| Agents that start at once | half know their pods after | all | lists (by code) | watches open | refused | CPU seconds | MiB sent | " +
		"MiB of memory before | highest | with all watching |")
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, r := range rows {
		fmt.Printf("| %d, %s | %.1f s | %.1f s | %s | %.0f | %.0f | %.1f | %.1f | %d | %d | %d |\n", r.Agents, r.Name, r.Half.Seconds(), r.All.Seconds(),
			r.Lists, r.OpenWatches, r.Rejected, r.StartCPU.Seconds(), r.StartMiB, r.BeforeMiB, r.PeakMiB, r.WatchingMiB)
	}
	fmt.Printf("\n| %d pods change | events sent | MiB sent | CPU seconds |\n| --- | ---: | ---: | ---: |\n", plan.Changes)
	for _, r := range rows {
		fmt.Printf("| %d, %s | %.0f | %.1f | %.1f |\n", r.Agents, r.Name, r.Events, r.ChangeMiB, r.ChangeCPU.Seconds())
	}
}
