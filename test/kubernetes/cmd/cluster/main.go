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
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var ended *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &ended):
		os.Exit(ended.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	config := cluster.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	app := kingpin.New("cluster", "A Kubernetes cluster of one emulated node.")
	app.Flag("directory", "Where the cluster lives.").StringVar(&config.Directory)
	app.Command("build", "Build all programs that the cache does not have.")
	up := app.Command("up", "Build what is missing, start the cluster, wait until the node is Ready.")
	up.Flag("arch", "The node's architecture.").Default("arm64").EnumVar(&config.Arch, "arm64", "amd64")
	up.Flag("driver", "The node's cgroup driver.").Default(cluster.DriverSystemd).
		EnumVar(&config.Driver, cluster.DriverSystemd, cluster.DriverCgroupfs)
	up.Flag("cpus", "The node's processors.").Default("2").IntVar(&config.CPUs)
	up.Flag("memory-mib", "The node's memory.").Default("3072").IntVar(&config.MemoryMiB)
	up.Flag("without-node", "Start the control plane only.").BoolVar(&config.WithoutNode)
	app.Command("down", "Stop the cluster.")
	app.Command("status", "Say what runs.")
	app.Command("install", "Build the agent from this source tree and put it on the cluster.")
	app.Command("workloads", "Run a pod of each kind that the agent has to tell apart.")
	app.Command("kubeconfig", "Print the path of the administrator's kubeconfig.")
	kubectl := app.Command("kubectl", "Run kubectl as administrator.")
	kubectlArguments := kubectl.Arg("arguments", "").Strings()
	node := app.Command("node", "Run a command as root on the node.")
	nodeCommand := node.Arg("command", "").Required().Strings()
	word, err := app.Parse(keepFlags(arguments, kubectl.FullCommand(), node.FullCommand()))
	if err != nil {
		return err
	}
	switch word {
	case "build":
		_, err := cluster.Programs(ctx, config)
		return err
	case "up":
		c, err := cluster.Up(ctx, config)
		if err == nil {
			fmt.Println(c.Plane.Kubeconfig())
		}
		return err
	case "down":
		return cluster.Down(ctx, config)
	}
	c, err := cluster.Open(config)
	if err != nil {
		return err
	}
	switch word {
	case "install":
		return install.Agent(ctx, c, config.Log)
	case "workloads":
		return workloads.Run(ctx, c, config.Log)
	case "kubeconfig":
		fmt.Println(c.Plane.Kubeconfig())
	case "kubectl":
		return c.Kubectl(ctx, os.Stdin, os.Stdout, *kubectlArguments...)
	case "node":
		return runOnNode(ctx, c, *nodeCommand)
	case "status":
		return status(ctx, c)
	}
	return nil
}

// keepFlags makes sure that what follows one of words is not taken for flags
// of this program.
func keepFlags(arguments []string, words ...string) []string {
	for i, argument := range arguments {
		if slices.Contains(words, argument) {
			return slices.Insert(slices.Clone(arguments), i+1, "--")
		}
	}
	return arguments
}

func runOnNode(ctx context.Context, c *cluster.Cluster, command []string) error {
	var input io.Reader
	// A terminal never ends by itself.
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice == 0 {
		input = os.Stdin
	}
	code, err := c.Node.Stream(ctx, input, os.Stdout, command...)
	if err == nil && code != 0 {
		return fmt.Errorf("%s ended with status %d", command[0], code)
	}
	return err
}

func status(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	fmt.Printf("architecture %s, cgroup driver %s\nkubeconfig %s\n", c.Arch, c.Driver, c.Plane.Kubeconfig())
	uptime, err := c.Node.Shell(ctx, "cat /proc/uptime")
	if err != nil {
		fmt.Println("node:", err)
	} else {
		fmt.Println("node: up (uptime, idle seconds):", uptime)
	}
	return c.Kubectl(ctx, nil, os.Stdout, "get", "nodes,pods", "--all-namespaces", "--output=wide")
}
