// SPDX-License-Identifier: Apache-2.0

// Command tree makes the pods that the Prometheus test looks at and prints one
// line of JSON, a list of Pod, when all run; it ends with its standard input's
// reader, which is the machine. It owns which pods there are. It must not know
// what is measured.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// pod tells the other side what was made. Paths are of directories.
type pod struct {
	Name, UID, Path, Sandbox string
	Containers               []string
}

func main() {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tree:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	tree, err := kubetree.New("/sys/fs/cgroup", kubetree.Spec{MemoryQoS: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	var made []pod
	for _, spec := range pods() {
		p, err := tree.AddPod(spec)
		if err != nil {
			return err
		}
		m := pod{Name: spec.Name, UID: p.UID, Path: p.Path, Sandbox: p.Sandbox.Path}
		for _, c := range tree.Containers(p) {
			m.Containers = append(m.Containers, c.Path)
		}
		made = append(made, m)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if err := json.NewEncoder(os.Stdout).Encode(made); err != nil {
		return fmt.Errorf("say which pods there are: %w", err)
	}
	<-stop
	return nil
}

// pods are of every class, and those with limits reach them: CPU that is
// throttled at once, in bursts, and in one container of two; memory near its
// limit, and memory that is given back when the test kills it ("falling").
func pods() []kubetree.PodSpec {
	res := func(cpuRequest, cpuLimit, memoryRequest, memoryLimit int64) kubetree.Resources {
		return kubetree.Resources{
			CPURequestMilli: cpuRequest, CPULimitMilli: cpuLimit,
			MemoryRequestBytes: memoryRequest << 20, MemoryLimitBytes: memoryLimit << 20,
		}
	}
	container := func(name string, r kubetree.Resources, line string) kubetree.ContainerSpec {
		return kubetree.ContainerSpec{Name: name, Resources: r, Work: work.Cmd(line)}
	}
	return []kubetree.PodSpec{
		{Name: "throttled", Containers: []kubetree.ContainerSpec{container("a", res(50, 100, 16, 32), "spin threads=2 duty=0.5")}},
		{Name: "bursting", Containers: []kubetree.ContainerSpec{container("a", res(50, 200, 16, 0), "burst threads=3 work=10ms period=200ms")}},
		{Name: "pair", Containers: []kubetree.ContainerSpec{
			container("a", res(20, 50, 16, 32), "spin duty=0.2"),
			container("b", res(20, 500, 16, 32), "spin duty=0.05"),
		}},
		{Name: "guaranteed", Containers: []kubetree.ContainerSpec{container("a", res(200, 200, 24, 24), "spin duty=0.05")}},
		{Name: "full", Containers: []kubetree.ContainerSpec{container("a", res(20, 0, 64, 64), "hold bytes=56Mi")}},
		{Name: "falling", Containers: []kubetree.ContainerSpec{container("a", res(20, 100, 64, 64), "hold bytes=40Mi")}},
		{Name: "besteffort", Containers: []kubetree.ContainerSpec{container("a", kubetree.Resources{}, "spin duty=0.02")}},
	}
}
