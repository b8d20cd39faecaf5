// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Spec says what kind of node the tree imitates. The zero value is a node with
// the systemd driver and containerd, its own memory and CPUs, without
// MemoryQoS.
type Spec struct {
	Driver  Driver
	Runtime Runtime
	// CgroupRoot is the kubelet's --cgroup-root: "/kubelet" for kind, which
	// makes kubelet.slice/kubelet-kubepods.slice. Empty and "/" are the same.
	CgroupRoot string
	// Seed makes UIDs and container ids, the same ones each time.
	Seed uint64
	// NodeMemoryBytes is what oom_score_adj is reckoned against; 0 is MemTotal.
	NodeMemoryBytes int64
	// AllocatableMilliCPU and AllocatableMemoryBytes are the limits of
	// kubepods; 0 is all that the node has.
	AllocatableMilliCPU    int64
	AllocatableMemoryBytes int64
	// MemoryQoS sets memory.high, .min and .low as the feature gate does.
	MemoryQoS bool
	// Executable runs the workloads: a program that calls work.Main. Empty is
	// the running program.
	Executable string
}

// Tree is a kubepods tree that exists. Its methods may be called at the same
// time; one waits for the other.
type Tree struct {
	spec  Spec
	names names
	root  string

	mu   sync.Mutex
	pods map[string]*Pod // by UID
}

// New makes kubepods and its QoS slices below root, which is a cgroup2 mount
// or a cgroup without processes in it. A kubepods that is there already is an
// error: it may be a real one.
func New(root string, spec Spec) (*Tree, error) {
	spec, err := spec.defaulted()
	if err != nil {
		return nil, err
	}
	names, err := newNames(spec.Driver, spec.CgroupRoot, spec.Runtime)
	if err != nil {
		return nil, err
	}
	if err := checkCgroup2(root); err != nil {
		return nil, err
	}
	t := &Tree{spec: spec, names: names, root: root, pods: map[string]*Pod{}}
	if _, err := os.Lstat(t.Kubepods()); err == nil {
		return nil, fmt.Errorf("cgroup %s exists already: this node has a kubelet, or an earlier tree was not closed", t.Kubepods())
	}
	if err := t.makeSlices(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (s Spec) defaulted() (Spec, error) {
	if s.Driver == "" {
		s.Driver = Systemd
	}
	if s.Runtime == "" {
		s.Runtime = Containerd
	}
	if s.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return s, fmt.Errorf("find the running program: %w", err)
		}
		s.Executable = exe
	}
	if s.NodeMemoryBytes == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return s, fmt.Errorf("ask for the node's memory: %w", err)
		}
		s.NodeMemoryBytes = int64(info.Totalram) * int64(info.Unit)
	}
	if s.AllocatableMemoryBytes == 0 {
		s.AllocatableMemoryBytes = s.NodeMemoryBytes
	}
	if s.AllocatableMilliCPU == 0 {
		var online unix.CPUSet
		if err := unix.SchedGetaffinity(0, &online); err != nil {
			return s, fmt.Errorf("ask for the node's CPUs: %w", err)
		}
		s.AllocatableMilliCPU = int64(online.Count()) * 1000
	}
	return s, nil
}

func checkCgroup2(root string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return fmt.Errorf("look at cgroup root %s: %w", root, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("cgroup root %s: no cgroup2 file system is mounted there", root)
	}
	return nil
}

// makeSlices makes every cgroup above the pods, controllers on all the way.
func (t *Tree) makeSlices() error {
	if err := delegate(t.root); err != nil {
		return err
	}
	dir := t.root
	for part := range strings.SplitSeq(t.names.dir("kubepods"), "/") {
		dir = filepath.Join(dir, part)
		if err := mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := delegate(dir); err != nil {
			return err
		}
	}
	kubepods := []setting{
		{file: "cpu.weight", value: fmt.Sprint(cpuWeight(t.spec.AllocatableMilliCPU))},
		{file: "memory.max", value: memoryLimit(t.spec.AllocatableMemoryBytes / int64(os.Getpagesize()) * int64(os.Getpagesize()))},
	}
	if err := apply(t.Kubepods(), kubepods); err != nil {
		return err
	}
	for _, q := range []cgroupfs.QoS{cgroupfs.Burstable, cgroupfs.BestEffort} {
		if err := mkdir(t.Slice(q)); err != nil {
			return err
		}
		if err := delegate(t.Slice(q)); err != nil {
			return err
		}
		if err := apply(t.Slice(q), []setting{{file: "cpu.weight", value: "1"}}); err != nil {
			return err
		}
	}
	return nil
}

// Kubepods returns the path of the kubepods cgroup.
func (t *Tree) Kubepods() string { return filepath.Join(t.root, t.names.dir("kubepods")) }

// Slice returns the path of the cgroup above the pods of a class: kubepods
// itself for Guaranteed.
func (t *Tree) Slice(q cgroupfs.QoS) string {
	if q == cgroupfs.Guaranteed {
		return t.Kubepods()
	}
	return filepath.Join(t.root, t.names.dir("kubepods", q.String()))
}

// Pods returns the pods that exist, ordered by name.
func (t *Tree) Pods() []*Pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	pods := make([]*Pod, 0, len(t.pods))
	for _, p := range t.pods {
		pods = append(pods, p)
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	return pods
}

// updateSlices sets what the kubelet keeps in step with the sum of the pods
// (pkg/kubelet/cm/qos_container_manager_linux.go).
func (t *Tree) updateSlices() error {
	var burstableMilli, burstableBytes, guaranteedBytes int64
	for _, p := range t.pods {
		switch p.QoS {
		case cgroupfs.Burstable:
			burstableMilli += p.resources.CPURequestMilli
			burstableBytes += p.resources.MemoryRequestBytes
		case cgroupfs.Guaranteed:
			guaranteedBytes += p.resources.MemoryRequestBytes
		}
	}
	burstable := t.Slice(cgroupfs.Burstable)
	if err := apply(burstable, []setting{{file: "cpu.weight", value: fmt.Sprint(cpuWeight(burstableMilli))}}); err != nil {
		return err
	}
	if !t.spec.MemoryQoS {
		return nil
	}
	if err := apply(burstable, []setting{{file: "memory.low", value: fmt.Sprint(burstableBytes)}}); err != nil {
		return err
	}
	return apply(t.Kubepods(), []setting{{file: "memory.min", value: fmt.Sprint(guaranteedBytes + burstableBytes)}})
}

// Close kills all processes and removes the tree, and the cgroups of
// CgroupRoot where nothing else is in them.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := killAll(t.Kubepods()); err != nil {
		return err
	}
	var errs []error
	for _, p := range t.pods {
		for _, c := range append([]*Container{p.Sandbox}, p.containers...) {
			errs = append(errs, c.process.reap())
		}
	}
	clear(t.pods)
	errs = append(errs, removeAll(t.Kubepods()))
	for dir := filepath.Dir(t.Kubepods()); dir != filepath.Clean(t.root); dir = filepath.Dir(dir) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
