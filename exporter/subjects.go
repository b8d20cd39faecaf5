// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// What keeps the keys of slices, pods and containers apart in a plan for every
// cgroup: a pod's and a container's Series may be the same number.
const (
	keySlice = iota
	keyPod
	keyContainer
	keyKinds
)

// visitAll visits every subject of the plan's level in s.
func (p *plan) visitAll(s *snapshot.Snapshot) {
	switch p.level {
	case levelContainer:
		p.visitContainers(s, 0, 1)
	case levelPod:
		p.visitPods(s, 0, 1)
	case levelQoS:
		p.visitClasses(s)
	case levelKubepods:
		p.subject = subject{snapshot: s, measures: &s.Kubepods.Measures, slice: &s.Kubepods}
		p.visit(0)
	case levelSource:
		for i := range s.Sources {
			p.subject = subject{snapshot: s, source: &s.Sources[i]}
			p.visit(uint64(i))
		}
	case levelCgroup:
		p.visitSlices(s)
		p.visitPods(s, keyPod, keyKinds)
		p.visitContainers(s, keyContainer, keyKinds)
	default:
		p.subject = subject{snapshot: s}
		p.visit(0)
	}
}

func (p *plan) visitContainers(s *snapshot.Snapshot, offset, step uint64) {
	for i := range s.Containers {
		c := &s.Containers[i]
		if p.level == levelCgroup && !c.Ended.IsZero() || p.level == levelContainer && c.Sandbox {
			continue
		}
		p.subject = subject{snapshot: s, measures: &c.Measures, container: c}
		p.visit(c.Series*step + offset)
	}
}

func (p *plan) visitPods(s *snapshot.Snapshot, offset, step uint64) {
	for i := range s.Pods {
		pod := &s.Pods[i]
		if p.level == levelCgroup && !pod.Ended.IsZero() {
			continue
		}
		p.subject = subject{snapshot: s, measures: &pod.Measures, pod: pod}
		p.visit(pod.Series*step + offset)
	}
}

func (p *plan) visitClasses(s *snapshot.Snapshot) {
	for class := range cgroupfs.NumQoS {
		slice := &s.Classes[class]
		p.subject = subject{snapshot: s, measures: &slice.Measures, slice: slice, class: class}
		p.visit(uint64(class))
	}
}

// visitSlices visits the slices that are cgroups.
func (p *plan) visitSlices(s *snapshot.Snapshot) {
	visit := func(slice *snapshot.Slice, n uint64) {
		if slice.Path == "" || !slice.Exists {
			return
		}
		p.subject = subject{snapshot: s, measures: &slice.Measures, slice: slice}
		p.visit(n*keyKinds + keySlice)
	}
	visit(&s.Kubepods, uint64(cgroupfs.NumQoS))
	for class := range cgroupfs.NumQoS {
		visit(&s.Classes[class], uint64(class))
	}
}
