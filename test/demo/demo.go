// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
	"github.com/slicewatch/slicewatch/test/vm"
)

const (
	guestPort = 9779
	memoryMiB = 1536
	// startTime bounds each step between boot and the first scrape with all
	// containers; a minute is usual on an idle host.
	startTime = 5 * time.Minute
)

// demo is one that runs.
type demo struct {
	opts    options
	out     io.Writer
	machine *vm.Machine
	url     string
	nodes   *output // what kubetree says
	agent   *output // what slicewatch says
	ended   chan error
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if err := checkPort(ctx, o.port); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "slicewatch-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(out, "building the agent and the made-up cluster for %s ...\n", o.arch)
	files, err := build(ctx, o.arch, dir)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	fmt.Fprintf(out, "booting a virtual machine (%s, Debian %s, in software) ...\n", o.arch, o.suite)
	machine, err := vm.Start(ctx, vm.Config{
		Arch: o.arch, Suite: o.suite, MemoryMiB: memoryMiB, Files: files,
		Forwards: []vm.Forward{{HostPort: o.port, GuestPort: guestPort}},
		Progress: out,
	})
	if err != nil {
		// QEMU's own words for a port that was taken meanwhile are obscure.
		return orInterrupted(ctx, errors.Join(checkPort(ctx, o.port), err))
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	fmt.Fprintf(out, "Linux %s is up after %v\n", machine.Kernel().Release, machine.BootTime().Round(time.Second/10))

	d := &demo{opts: o, out: out, machine: machine, url: fmt.Sprintf("http://127.0.0.1:%d", o.port), ended: make(chan error, 2)}
	if err := d.start(ctx); err != nil {
		return orInterrupted(ctx, err)
	}
	return d.watch(ctx)
}

// orInterrupted forgets an error that only says that the user had enough.
func orInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// checkPort fails if the port is taken: better before the minute that the rest
// takes than after.
func checkPort(ctx context.Context, port int) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d of 127.0.0.1 cannot be used (%w): end what has it, or take another with --port", port, err)
	}
	return listener.Close()
}

// start runs the cluster and the agent and waits until the agent exports every
// container.
func (d *demo) start(ctx context.Context) error {
	d.nodes = newOutput("cluster", d.out, "kubetree: ready", func(line string) bool {
		return d.opts.verbose || strings.Contains(line, "OOM")
	})
	d.agent = newOutput("agent", d.out, "", func(string) bool { return d.opts.verbose })
	fmt.Fprintln(d.out, "starting the cluster's pods ...")
	if err := d.launch(ctx, vm.Command{Path: "/bin/kubetree", Args: []string{"demo"}, MergeOutput: true}, d.nodes); err != nil {
		return err
	}
	select {
	case <-d.nodes.seen:
	case err := <-d.ended:
		return err
	case <-time.After(startTime):
		return fmt.Errorf("the cluster's pods did not start within %v; %s", startTime, d.nodes.tail())
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintln(d.out, "starting the agent ...")
	agent := vm.Command{
		Path: "/bin/slicewatch", MergeOutput: true,
		Args: []string{
			"agent", "--node.name=demo", "--kubernetes=off", "--containerd=off", "--path.state=/tmp/slicewatch",
			"--web.listen-address=:" + strconv.Itoa(guestPort),
		},
		Cgroup: "/sys/fs/cgroup/system.slice/slicewatch.service",
	}
	if err := d.launch(ctx, agent, d.agent); err != nil {
		return err
	}
	return d.awaitContainers(ctx)
}

// launch starts a command; its end, which is never wanted, goes to d.ended.
// The goroutine ends with the command.
func (d *demo) launch(ctx context.Context, c vm.Command, out *output) error {
	process, err := d.machine.Start(ctx, c, out, out)
	if err != nil {
		return err
	}
	go func() {
		code, err := process.Wait()
		if err == nil {
			err = fmt.Errorf("it ended with code %d", code)
		}
		d.ended <- fmt.Errorf("%s: %w; %s", c.Path, err, out.tail())
	}()
	return nil
}

func (d *demo) awaitContainers(ctx context.Context) error {
	deadline := time.Now().Add(startTime)
	want := len(cluster.Roles()) - 2 // some may be between two lives
	last := errors.New("no answer yet")
	for time.Now().Before(deadline) {
		got, err := scrapeMetrics(ctx, d.url+"/metrics")
		if err == nil && got.containers() >= want {
			return nil
		}
		last = err
		if err == nil {
			last = fmt.Errorf("it exports %d containers, want at least %d", got.containers(), want)
		}
		select {
		case err := <-d.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return fmt.Errorf("the agent was not ready within %v: %w; %s", startTime, last, d.agent.tail())
}

// watch prints what to look at and then a status line now and then.
func (d *demo) watch(ctx context.Context) error {
	first, err := scrapeMetrics(ctx, d.url+"/metrics")
	if err != nil {
		return orInterrupted(ctx, err)
	}
	fmt.Fprint(d.out, guide(d.url))
	var over <-chan time.Time
	if d.opts.runFor > 0 {
		over = time.After(d.opts.runFor)
	}
	tick := time.NewTicker(d.opts.every)
	defer tick.Stop()
	before, when := first, time.Now()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(d.out, "shutting the machine down ...")
			return nil
		case err := <-d.ended:
			return orInterrupted(ctx, err)
		case <-d.machine.Done():
			return orInterrupted(ctx, d.machine.Err())
		case <-over:
			return d.verdict(ctx, first)
		case <-tick.C:
		}
		now, err := scrapeMetrics(ctx, d.url+"/metrics")
		if err != nil {
			return orInterrupted(ctx, err)
		}
		fmt.Fprintln(d.out, time.Now().Format(time.TimeOnly), status(before, now, time.Since(when), apiPod()))
		before, when = now, time.Now()
	}
}

// verdict is whether the demo showed what it is for.
func (d *demo) verdict(ctx context.Context, first scrape) error {
	last, err := scrapeMetrics(ctx, d.url+"/metrics")
	if err != nil {
		return err
	}
	const throttled = "slicewatch_container_cpu_throttled_periods_total"
	a, _ := first.sum(throttled, "pod", apiPod())
	b, n := last.sum(throttled, "pod", apiPod())
	if n == 0 || b <= a {
		return fmt.Errorf("the API server was not throttled in %v: %s went from %.0f to %.0f in %d series", d.opts.runFor, throttled, a, b, n)
	}
	if want := len(cluster.Roles()) - 2; last.containers() < want {
		return fmt.Errorf("the agent exports %d containers at the end, want at least %d", last.containers(), want)
	}
	fmt.Fprintf(d.out, "worked: %d containers, API server throttled in %.0f periods, %.0f OOM kills\n", last.containers(), b-a, last.oomKills())
	return nil
}
