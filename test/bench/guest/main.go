// SPDX-License-Identifier: Apache-2.0

// Command guest runs the benchmarks inside the machine: it makes a tree of idle
// pods, lets several readers and exporters do the same work on it, runs the
// real agent on it, and prints what each took as one line of JSON, a
// benchresult.Result. It owns what is compared with what. It must not know how
// the machine was booted or how figures are shown.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/bench/benchresult"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const cgroupRoot = "/sys/fs/cgroup"

func main() {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	pods := flag.Int("pods", 110, "how many pods")
	containers := flag.Int("containers", 2, "how many containers each, besides the sandbox")
	flag.Parse()
	if err := run(*pods, *containers); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// openFiles is the limit that containers usually have; the machine's own is
// lower than what kept descriptors would like.
const openFiles = 1 << 20

func run(pods, containers int) (err error) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: openFiles, Max: openFiles}); err != nil {
		return fmt.Errorf("raise the limit on open files: %w", err)
	}
	result := benchresult.Result{Pods: pods, Containers: containers, Arch: runtime.GOARCH, Go: runtime.Version()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("ask for the kernel's release: %w", err)
	}
	result.Kernel = unix.ByteSliceToString(name.Release[:])
	tree, err := kubetree.New(cgroupRoot, kubetree.Spec{MemoryQoS: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if err := fill(tree, pods, containers); err != nil {
		return err
	}
	cgroups, err := listCgroups()
	if err != nil {
		return err
	}
	result.Cgroups = len(cgroups)
	if result.Agent, err = runAgent("--bpf=required"); err != nil {
		return err
	}
	if result.FilesAgent, err = runAgent("--bpf=off"); err != nil {
		return err
	}
	if result.Sweeps, err = compareSweeps(cgroups); err != nil {
		return err
	}
	if err := compareScrapes(cgroups, &result); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// fill adds idle pods of all classes. Half of the containers have a quota, so
// that cpu.max is read of them every time.
func fill(tree *kubetree.Tree, pods, containers int) error {
	const mi = 1 << 20
	kinds := []kubetree.Resources{
		{CPURequestMilli: 100, CPULimitMilli: 500, MemoryRequestBytes: 16 * mi, MemoryLimitBytes: 64 * mi},
		{CPURequestMilli: 50, MemoryRequestBytes: 16 * mi},
		{CPURequestMilli: 100, CPULimitMilli: 100, MemoryRequestBytes: 32 * mi, MemoryLimitBytes: 32 * mi},
		{},
	}
	for i := range pods {
		spec := kubetree.PodSpec{Name: fmt.Sprintf("pod-%03d", i)}
		for j := range containers {
			spec.Containers = append(spec.Containers, kubetree.ContainerSpec{
				Name: fmt.Sprintf("container-%d", j), Resources: kinds[i%len(kinds)], Work: work.Cmd("idle"),
			})
		}
		if _, err := tree.AddPod(spec); err != nil {
			return err
		}
	}
	return nil
}

// listCgroups returns what the agent reads.
func listCgroups() ([]*cgroupfs.Cgroup, error) {
	tree, err := cgroupfs.NewTree(cgroupRoot, cgroupfs.TreeConfig{})
	if err != nil {
		return nil, err
	}
	if _, err := tree.Refresh(); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	cgroups := append([]*cgroupfs.Cgroup{}, tree.Cgroups()...)
	return cgroups, tree.Close()
}
