// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// rowKey tells the subjects of a plan apart. A pod's and a container's Series
// may be the same number.
type rowKey struct {
	kind   rowKind
	series uint64 // or the index of what has no series number
}

type rowKind uint8

const (
	rowOther rowKind = iota
	rowSlice
	rowPod
	rowContainer
	rowOOM
	rowHint
)

// visitAll visits every subject of the plan's level in s.
func (p *plan) visitAll(s *snapshot.Snapshot) {
	switch p.level {
	case levelContainer:
		p.visitContainers(s)
	case levelPod:
		p.visitPods(s)
	case levelQoS:
		p.visitClasses(s)
	case levelKubepods:
		p.subject = subject{snapshot: s, measures: &s.Kubepods.Measures, slice: &s.Kubepods}
		p.visit(rowKey{})
	case levelSource:
		for i := range s.Sources {
			p.subject = subject{snapshot: s, source: &s.Sources[i]}
			p.visit(rowKey{rowOther, uint64(i)})
		}
	case levelHint:
		for i := range s.Containers {
			if c := &s.Containers[i]; c.Hint != nil {
				p.subject = subject{snapshot: s, measures: &c.Measures, container: c}
				p.visit(rowKey{rowHint, c.Series})
			}
		}
	case levelOOM:
		for i := range s.OOMs {
			p.subject = subject{snapshot: s, oom: &s.OOMs[i]}
			p.visit(rowKey{rowOOM, s.OOMs[i].Series})
		}
	case levelCgroup:
		p.visitSlices(s)
		p.visitPods(s)
		p.visitContainers(s)
	default:
		p.subject = subject{snapshot: s}
		p.visit(rowKey{})
	}
}

func (p *plan) visitContainers(s *snapshot.Snapshot) {
	for i := range s.Containers {
		c := &s.Containers[i]
		if p.level == levelContainer && c.Sandbox || p.level == levelCgroup && !isCgroup(c.Path, c.Ended) {
			continue
		}
		p.subject = subject{snapshot: s, measures: &c.Measures, container: c}
		p.visit(rowKey{rowContainer, c.Series})
	}
}

func (p *plan) visitPods(s *snapshot.Snapshot) {
	for i := range s.Pods {
		pod := &s.Pods[i]
		if p.level == levelCgroup && !isCgroup(pod.Path, pod.Ended) {
			continue
		}
		p.subject = subject{snapshot: s, measures: &pod.Measures, pod: pod}
		p.visit(rowKey{rowPod, pod.Series})
	}
}

func (p *plan) visitClasses(s *snapshot.Snapshot) {
	for class := range cgroupfs.NumQoS {
		slice := &s.Classes[class]
		p.subject = subject{snapshot: s, measures: &slice.Measures, slice: slice, class: class}
		p.visit(rowKey{rowSlice, uint64(class)})
	}
}

// visitSlices visits the slices that are cgroups.
func (p *plan) visitSlices(s *snapshot.Snapshot) {
	visit := func(slice *snapshot.Slice, n uint64) {
		if slice.Path == "" || !slice.Exists {
			return
		}
		p.subject = subject{snapshot: s, measures: &slice.Measures, slice: slice}
		p.visit(rowKey{rowSlice, n})
	}
	visit(&s.Kubepods, uint64(cgroupfs.NumQoS))
	for class := range cgroupfs.NumQoS {
		visit(&s.Classes[class], uint64(class))
	}
}

func isCgroup(path string, ended time.Time) bool { return path != "" && ended.IsZero() }
