// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// ContainerSpec describes a container.
type ContainerSpec struct {
	Name string
	Resources
	// Work is what its main process does; empty is idle.
	Work work.Command
	// CPUBurstMicros is cpu.max.burst, which the kubelet never sets.
	CPUBurstMicros int64
	// PIDsLimit is the runtime's pids.max; 0 is none.
	PIDsLimit int64
	// SwapLimitBytes is memory.swap.max; the kubelet's default is 0.
	SwapLimitBytes int64
	// SingleProcessOOMKill leaves memory.oom.group at 0, as the kubelet's
	// setting of this name does.
	SingleProcessOOMKill bool
	Layout               Layout
}

// Layout is what the container does with cgroups below its own.
type Layout int

// The layouts.
const (
	// Flat makes none: all processes are in the container's cgroup.
	Flat Layout = iota
	// Nested is systemd in a container: it makes init.scope, is in there with
	// all processes, and turns the controllers on for it.
	Nested
	// Threaded makes a threaded cgroup, which makes the container's own a
	// "domain threaded" one. The workload should be "thread", whose file is
	// filled in.
	Threaded
)

// Container is one incarnation of a container. Its fields do not change.
type Container struct {
	Spec ContainerSpec
	Pod  *Pod
	// ID is the runtime's id, 64 hex digits.
	ID string
	// Path is the directory of the container's cgroup.
	Path string
	// PID is that of its main process.
	PID int
	// Attempt counts the incarnations before this one.
	Attempt int
	Started time.Time

	process *process
}

// Exit is how a container's main process ended.
type Exit struct {
	// Code is the exit code as Kubernetes shows it: 128 + signal if killed.
	Code int
	// OOMKilled is whether its cgroup counts a kill and SIGKILL ended it.
	OOMKilled bool
}

// ErrPodGone is the cause of what fails because the pod was removed.
var ErrPodGone = errors.New("the pod was removed")

// StartContainer starts a container in a pod; one of the same name that was
// there before is an incarnation before it.
func (t *Tree) StartContainer(pod *Pod, spec ContainerSpec) (*Container, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.createContainer(pod, spec)
	if err != nil {
		return nil, err
	}
	return c, t.begin(nil, c)
}

// begin waits until the containers' processes are at their gates, sets the CPU
// limits of the pod (unless nil) and of the containers and lets all begin. That
// a process is not throttled while it starts is the one thing that a real
// runtime does otherwise; under emulation starting would take minutes.
func (t *Tree) begin(pod *Pod, containers ...*Container) error {
	for _, c := range containers {
		if err := c.process.ready(); err != nil {
			return errors.Join(fmt.Errorf("start container %s of pod %s: %w", c.Spec.Name, c.Pod.Spec.Name, err), t.removeContainer(c))
		}
	}
	if pod != nil {
		if err := apply(pod.Path, []setting{{file: "cpu.max", value: cpuMax(pod.resources.CPULimitMilli)}}); err != nil {
			return err
		}
	}
	for _, c := range containers {
		if err := apply(c.Path, []setting{{file: "cpu.max", value: cpuMax(c.Spec.CPULimitMilli)}}); err != nil {
			return errors.Join(err, t.removeContainer(c))
		}
		c.process.release()
		c.Started = time.Now()
	}
	return nil
}

// createContainer makes a container whose workload has not begun.
func (t *Tree) createContainer(pod *Pod, spec ContainerSpec) (*Container, error) {
	if t.pods[pod.UID] != pod {
		return nil, fmt.Errorf("start container %s of pod %s: %w", spec.Name, pod.Spec.Name, ErrPodGone)
	}
	sandbox := pod.Sandbox == nil
	attempt := pod.attempts[spec.Name]
	c := &Container{Spec: spec, Pod: pod, Attempt: attempt, ID: ContainerID(t.spec.Seed, pod.UID, spec.Name, attempt)}
	c.Path = filepath.Join(pod.Path, t.names.container(c.ID))
	pod.attempts[spec.Name]++
	if err := t.launch(c, sandbox); err != nil {
		err = errors.Join(err, killAll(c.Path))
		if c.process != nil {
			err = errors.Join(err, c.process.reap())
		}
		err = errors.Join(err, removeAll(c.Path))
		return nil, fmt.Errorf("start container %s of pod %s: %w", spec.Name, pod.Spec.Name, err)
	}
	if !sandbox {
		pod.containers = append(pod.containers, c)
	}
	return c, nil
}

func (t *Tree) launch(c *Container, sandbox bool) error {
	if err := mkdir(c.Path); err != nil {
		return err
	}
	adj := oomAdjSandbox
	settings := []setting{{file: "cpu.weight", value: "1"}}
	if !sandbox {
		r := c.Spec.Resources.defaulted()
		adj = oomScoreAdj(r, c.Pod.QoS, c.Pod.Spec.NodeCritical, t.spec.NodeMemoryBytes)
		settings = t.containerSettings(c.Spec, r, c.Pod.QoS)
	}
	if err := apply(c.Path, settings); err != nil {
		return err
	}
	dir, command, err := c.lay()
	if err != nil {
		return err
	}
	c.process, err = start(t.spec.Executable, dir, command, adj)
	if err != nil {
		return err
	}
	c.PID = c.process.pid
	return nil
}

func (t *Tree) containerSettings(spec ContainerSpec, r Resources, q cgroupfs.QoS) []setting {
	group := "1"
	if spec.SingleProcessOOMKill {
		group = "0"
	}
	settings := []setting{
		{file: "cpu.weight", value: fmt.Sprint(cpuWeight(r.CPURequestMilli))},
		{file: "memory.max", value: memoryLimit(r.MemoryLimitBytes)},
		{file: "memory.oom.group", value: group},
		{file: "memory.swap.max", value: fmt.Sprint(spec.SwapLimitBytes), ifPresent: spec.SwapLimitBytes == 0},
	}
	if spec.CPUBurstMicros > 0 {
		settings = append(settings, setting{file: "cpu.max.burst", value: fmt.Sprint(spec.CPUBurstMicros)})
	}
	if spec.PIDsLimit > 0 {
		settings = append(settings, setting{file: "pids.max", value: fmt.Sprint(spec.PIDsLimit)})
	}
	if t.spec.MemoryQoS {
		settings = append(settings, setting{file: "memory.high", value: memoryHigh(r, q, t.spec.AllocatableMemoryBytes)})
	}
	return append(settings, t.protection(q, r)...)
}

// lay makes the cgroups below the container's own that its layout has, and
// returns where its process belongs and what that does.
func (c *Container) lay() (dir string, command work.Command, err error) {
	command = c.Spec.Work
	if command.Kind == "" {
		command.Kind = "idle"
	}
	switch c.Spec.Layout {
	case Nested:
		if err := delegate(c.Path); err != nil {
			return "", command, err
		}
		dir = filepath.Join(c.Path, "init.scope")
		return dir, command, mkdir(dir)
	case Threaded:
		child := filepath.Join(c.Path, "threads")
		if err := mkdir(child); err != nil {
			return "", command, err
		}
		if command.Kind == "thread" {
			command.Args = append(slices.Clip(command.Args), "threads-file="+filepath.Join(child, "cgroup.threads"))
		}
		return c.Path, command, apply(child, []setting{{file: "cgroup.type", value: "threaded"}})
	}
	return c.Path, command, nil
}

// Exited returns how the container's main process ended, or nil while it runs.
func (t *Tree) Exited(c *Container) (*Exit, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.exited()
}

func (c *Container) exited() (*Exit, error) {
	status, err := c.process.poll()
	if err != nil || status == nil {
		return nil, err
	}
	exit := &Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		exit.Code = 128 + int(status.Signal())
	}
	// The cgroup may be gone by now, and its counters with it.
	kills, err := countOf(c.Path, "memory.events", "oom_kill")
	exit.OOMKilled = err == nil && kills > 0 && status.Signaled() && status.Signal() == syscall.SIGKILL
	return exit, nil
}

// countOf returns the number after key in a flat keyed file of cgroup dir.
func countOf(dir, file, key string) (int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, fmt.Errorf("read %s of cgroup %s: %w", file, dir, err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, fmt.Errorf("read %s of cgroup %s: no %q in it", file, dir, key)
}

// Wait waits until the container's main process has ended.
func (t *Tree) Wait(ctx context.Context, c *Container) (*Exit, error) {
	for {
		if exit, err := t.Exited(c); err != nil || exit != nil {
			return exit, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %q in cgroup %s: %w", c.Spec.Work, c.Path, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// KillContainer kills all processes of a container. Its cgroup stays.
func (t *Tree) KillContainer(c *Container) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.kill()
}

func (c *Container) kill() error {
	if err := killAll(c.Path); err != nil {
		return fmt.Errorf("kill container %s of pod %s: %w", c.Spec.Name, c.Pod.Spec.Name, err)
	}
	return c.process.reap()
}

// RemoveContainer kills a container's processes and removes its cgroup.
func (t *Tree) RemoveContainer(c *Container) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removeContainer(c)
}

func (t *Tree) removeContainer(c *Container) error {
	c.Pod.containers = slices.DeleteFunc(c.Pod.containers, func(other *Container) bool { return other == c })
	if err := c.kill(); err != nil {
		return err
	}
	if err := removeAll(c.Path); err != nil {
		return fmt.Errorf("remove container %s of pod %s: %w", c.Spec.Name, c.Pod.Spec.Name, err)
	}
	return nil
}

// RestartContainer does what a runtime does after a container's end: its
// cgroup is removed and another, with a new id, takes its place.
func (t *Tree) RestartContainer(c *Container) (*Container, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.removeContainer(c); err != nil {
		return nil, err
	}
	again, err := t.createContainer(c.Pod, c.Spec)
	if err != nil {
		return nil, err
	}
	return again, t.begin(nil, again)
}
