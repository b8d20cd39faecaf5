// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/test/kubernetes/adoption"
	"github.com/slicewatch/slicewatch/test/kubernetes/checks"
	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// What follows these words belongs to a program of its own.
const (
	wordKubectl = "kubectl"
	wordNode    = "node"
)

// lifeWords are those by which a cluster comes and goes.
func lifeWords(app *kingpin.Application, config *cluster.Config) []word {
	build := app.Command("build", "Build all programs that the cache does not have.")
	up := app.Command("up", "Build what is missing, start the cluster, wait until the node is Ready.")
	down := app.Command("down", "Stop the cluster.")
	test := app.Command("test", "Run the workloads, install the agent, run all checks, on the running cluster or on one that is stopped afterwards.")
	adopt := app.Command("test-install", "Check the Helm chart and the image on the running cluster, or on one that is stopped afterwards.")
	for _, clause := range []*kingpin.CmdClause{up, test, adopt} {
		// No defaults here: a cluster that runs is to be as asked, if asked.
		clause.Flag("arch", "The node's architecture (arm64, or what the running cluster has).").EnumVar(&config.Arch, "arm64", "amd64")
		clause.Flag("driver", "The node's cgroup driver (systemd, or what the running cluster has).").
			EnumVar(&config.Driver, cluster.DriverSystemd, cluster.DriverCgroupfs)
		clause.Flag("cpus", "The node's processors.").Default("2").IntVar(&config.CPUs)
		clause.Flag("memory-mib", "The node's memory.").Default("3072").IntVar(&config.MemoryMiB)
	}
	keep := false
	for _, clause := range []*kingpin.CmdClause{test, adopt} {
		clause.Flag("keep", "Leave the cluster running.").BoolVar(&keep)
	}
	up.Flag("without-node", "Start the control plane only.").BoolVar(&config.WithoutNode)
	return []word{
		{clause: build, run: func(ctx context.Context) error {
			_, err := cluster.Programs(ctx, *config)
			return err
		}},
		{clause: up, run: func(ctx context.Context) error {
			c, err := cluster.Up(ctx, *config)
			if err == nil {
				fmt.Println(c.Plane.Kubeconfig())
			}
			return err
		}},
		{clause: down, run: func(ctx context.Context) error { return cluster.Down(ctx, *config) }},
		{clause: test, run: func(ctx context.Context) error { return runChecks(ctx, *config, keep) }},
		{clause: adopt, run: func(ctx context.Context) error { return runAdoption(ctx, *config, keep) }},
	}
}

// useWords are those that need a running cluster.
func useWords(app *kingpin.Application, config *cluster.Config) []word {
	kubectl := app.Command(wordKubectl, "Run kubectl as administrator.")
	kubectlArguments := kubectl.Arg("arguments", "").Strings()
	node := app.Command(wordNode, "Run a command as root on the node.")
	nodeCommand := node.Arg("command", "").Required().Strings()
	return []word{
		{clause: app.Command("status", "Say what runs."), with: status},
		{
			clause: app.Command("kubeconfig", "Print the path of the administrator's kubeconfig."),
			with: func(_ context.Context, c *cluster.Cluster) error {
				fmt.Println(c.Plane.Kubeconfig())
				return nil
			},
		},
		{
			clause: app.Command("install", "Build the agent from this source tree and put it on the cluster."),
			with: func(ctx context.Context, c *cluster.Cluster) error {
				return install.Agent(ctx, c, config.Log)
			},
		},
		{
			clause: app.Command("workloads", "Run a pod of each kind that the agent has to tell apart."),
			with: func(ctx context.Context, c *cluster.Cluster) error {
				return workloads.Run(ctx, c, config.Log)
			},
		},
		{clause: kubectl, with: func(ctx context.Context, c *cluster.Cluster) error {
			return c.Kubectl(ctx, os.Stdin, os.Stdout, *kubectlArguments...)
		}},
		{clause: node, with: func(ctx context.Context, c *cluster.Cluster) error {
			return runOnNode(ctx, c, *nodeCommand)
		}},
	}
}

// runChecks is the whole end-to-end test.
func runChecks(ctx context.Context, config cluster.Config, keep bool) error {
	if err := checkOlderRuntime(ctx, config); err != nil {
		return err
	}
	return onCluster(ctx, config, keep, func(c *cluster.Cluster) error {
		// The agent comes last: it looks at every cgroup once a second, which an
		// emulated processor that starts pods feels.
		if err := workloads.Run(ctx, c, config.Log); err != nil {
			return err
		}
		if err := install.Agent(ctx, c, config.Log); err != nil {
			return err
		}
		return goTest(ctx, "test/kubernetes/checks", checks.RequiredEnv+"=1")
	})
}

// runAdoption needs no workloads and brings its agents itself.
func runAdoption(ctx context.Context, config cluster.Config, keep bool) error {
	if os.Getenv(adoption.HelmEnv) == "" {
		return fmt.Errorf("%s does not say where Helm is: run `make install-test`", adoption.HelmEnv)
	}
	// Before the cluster is built and started, which takes half an hour.
	if _, err := exec.LookPath("prometheus"); err != nil {
		return fmt.Errorf("needs Prometheus: apt-get install prometheus, as root, or run `make install-test` as root: %w", err)
	}
	return onCluster(ctx, config, keep, func(*cluster.Cluster) error { return goTest(ctx, "test/kubernetes/adoption") })
}

// onCluster does something with the cluster that runs, if that is as asked, or
// with one that it starts, and stops in the end unless it is to be kept.
func onCluster(ctx context.Context, config cluster.Config, keep bool, do func(*cluster.Cluster) error) (err error) {
	c, err := cluster.Open(config)
	switch {
	case errors.Is(err, cluster.ErrNone):
		if !keep {
			defer func() {
				// Also after an interrupt nothing may stay behind.
				err = errors.Join(err, cluster.Down(context.WithoutCancel(ctx), config))
			}()
		}
		if c, err = cluster.Up(ctx, config); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("there is a cluster that cannot be used: stop it with `cluster down`: %w", err)
	default:
		if err := c.CheckUsable(ctx, config); err != nil {
			return err
		}
		config.Log.Info("using the running cluster", "arch", c.Arch, "driver", c.Driver)
	}
	return do(c)
}

// goTest runs the tests of a package of the product's module.
func goTest(ctx context.Context, pkg string, environment ...string) error {
	source, err := cluster.Source(ctx, pkg)
	if err != nil {
		return err
	}
	run := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=60m", ".")
	run.Dir, run.Stdout, run.Stderr = source, os.Stdout, os.Stderr
	run.Env = append(os.Environ(), environment...)
	return run.Run()
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
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fmt.Printf("architecture %s, cgroup driver %s\nkubeconfig %s\n", c.Arch, c.Driver, c.Plane.Kubeconfig())
	uptime, err := c.Node.Shell(ctx, "cat /proc/uptime")
	if err != nil {
		fmt.Println("node:", err)
	} else {
		fmt.Print("node: up (uptime and idle time in seconds): ", uptime)
	}
	return c.Kubectl(ctx, nil, os.Stdout, "get", "nodes,pods", "--all-namespaces", "--output=wide")
}
