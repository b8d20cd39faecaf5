// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// PodSpec describes a pod. Its QoS class follows from its containers, as in
// Kubernetes.
type PodSpec struct {
	// Name is for messages, and for the UID where none is given.
	Name string
	// UID is the pod's; empty makes one from the tree's seed and the name.
	UID string
	// Static makes the UID the form of a static pod's: 32 hex digits.
	Static bool
	// NodeCritical is what priority class system-node-critical does.
	NodeCritical bool
	// Resources are pod-level requests and limits; nil is the sums of the
	// containers'.
	Resources *Resources
	// PIDsLimit is the kubelet's podPidsLimit; 0 is none.
	PIDsLimit  int64
	Restart    RestartPolicy
	Containers []ContainerSpec
}

// RestartPolicy says after which ends a Kubelet starts a container again.
type RestartPolicy int

// The restart policies.
const (
	RestartAlways RestartPolicy = iota
	RestartOnFailure
	RestartNever
)

// Pod is a pod that exists. Its fields do not change.
type Pod struct {
	Spec PodSpec
	UID  string
	QoS  cgroupfs.QoS
	// Path is the directory of the pod's cgroup.
	Path string
	// Sandbox is the pause container.
	Sandbox *Container

	resources Resources
	// The tree's lock guards what follows.
	containers []*Container
	attempts   map[string]int // incarnations so far, by container name
}

// AddPod makes a pod's cgroup with its limits, its sandbox and its containers,
// in this order. When any of it fails, all of it is removed again.
func (t *Tree) AddPod(spec PodSpec) (*Pod, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	uid := spec.UID
	switch {
	case uid == "" && spec.Static:
		uid = StaticUID(t.spec.Seed, spec.Name)
	case uid == "":
		uid = UID(t.spec.Seed, spec.Name)
	}
	if _, exists := t.pods[uid]; exists {
		return nil, fmt.Errorf("add pod %s: a pod with UID %s exists", spec.Name, uid)
	}
	q := qosOf(spec.Containers)
	pod := &Pod{
		Spec: spec, UID: uid, QoS: q,
		Path:      filepath.Join(t.root, t.names.pod(q, uid)),
		resources: podResources(spec.Containers),
		attempts:  map[string]int{},
	}
	if spec.Resources != nil {
		pod.resources = spec.Resources.defaulted()
	}
	err := mkdir(pod.Path)
	if err != nil {
		return nil, fmt.Errorf("add pod %s: %w", spec.Name, err)
	}
	t.pods[uid] = pod
	if err := t.fillPod(pod); err != nil {
		return nil, fmt.Errorf("add pod %s: %w", spec.Name, errors.Join(err, t.removePod(pod)))
	}
	return pod, nil
}

func (t *Tree) fillPod(pod *Pod) error {
	if err := delegate(pod.Path); err != nil {
		return err
	}
	if err := apply(pod.Path, t.podSettings(pod)); err != nil {
		return err
	}
	if err := t.updateSlices(); err != nil {
		return err
	}
	sandbox := ContainerSpec{Name: "POD", Work: work.Cmd("idle comm=pause")}
	c, err := t.createContainer(pod, sandbox)
	if err != nil {
		return err
	}
	pod.Sandbox = c
	all := []*Container{c}
	for _, spec := range pod.Spec.Containers {
		c, err := t.createContainer(pod, spec)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	return t.begin(pod, all...)
}

func (t *Tree) podSettings(pod *Pod) []setting {
	r := pod.resources
	settings := []setting{
		{file: "cpu.weight", value: fmt.Sprint(cpuWeight(r.CPURequestMilli))},
		{file: "memory.max", value: memoryLimit(r.MemoryLimitBytes)},
	}
	if pod.Spec.PIDsLimit > 0 {
		settings = append(settings, setting{file: "pids.max", value: fmt.Sprint(pod.Spec.PIDsLimit)})
	}
	return append(settings, t.protection(pod.QoS, r)...)
}

// protection is MemoryQoS's guarantee for a pod or a container.
func (t *Tree) protection(q cgroupfs.QoS, r Resources) []setting {
	if !t.spec.MemoryQoS || r.MemoryRequestBytes == 0 {
		return nil
	}
	file := "memory.low"
	if q == cgroupfs.Guaranteed {
		file = "memory.min"
	}
	return []setting{{file: file, value: fmt.Sprint(r.MemoryRequestBytes)}}
}

// RemovePod kills a pod's processes and removes its cgroups, the containers'
// first.
func (t *Tree) RemovePod(pod *Pod) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.removePod(pod); err != nil {
		return fmt.Errorf("remove pod %s: %w", pod.Spec.Name, err)
	}
	return nil
}

func (t *Tree) removePod(pod *Pod) error {
	var errs []error
	// Another's removal during this one's loop would shorten the list.
	for _, c := range append([]*Container{}, pod.containers...) {
		errs = append(errs, t.removeContainer(c))
	}
	if pod.Sandbox != nil {
		errs = append(errs, t.removeContainer(pod.Sandbox))
	}
	// What else is in there, a nested or a hostile cgroup.
	errs = append(errs, killAll(pod.Path), removeAll(pod.Path))
	delete(t.pods, pod.UID)
	return errors.Join(append(errs, t.updateSlices())...)
}

// Containers returns the pod's app containers that have a cgroup, running or
// not.
func (t *Tree) Containers(pod *Pod) []*Container {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*Container{}, pod.containers...)
}

// has reports whether pod was not removed.
func (t *Tree) has(pod *Pod) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pods[pod.UID] == pod
}
