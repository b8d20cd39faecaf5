// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"slices"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"

	dto "github.com/prometheus/client_model/go"
)

// family describes one metric family. The exposition, the reference page and
// the agent's own collectors are all made from these descriptions.
type family struct {
	name string
	help string
	kind dto.MetricType
	// unit is the unit of the value; empty for plain numbers.
	unit  string
	level level
	// labels are those beyond the level's own.
	labels []string
	// source says where the values come from. When empty it is derived from
	// the cgroup fields of the series.
	source string
	series []series
}

// series describes the series that one subject has in a family: one for each
// combination of the family's labels.
type series struct {
	// values are those of family.labels.
	values []string
	// dynamic is set instead of values where these differ from one subject to
	// the next, or change while the subject stays. It appends what they are
	// made of; render makes the values of family.labels from that, and is
	// called only when something changed.
	dynamic func(s *subject, parts []string) []string
	render  func(parts []string) []string
	// detail is true for what only users who ask for it get.
	detail bool
	// fields are the cgroup fields that the value is computed from.
	fields []cgroupfs.Field
	// value returns the value in the family's unit and whether there is one.
	// It is nil in a histogram.
	value func(s *subject) (float64, bool)
	// histogram returns the histogram, or nil where there is none. It is nil in
	// other families.
	histogram func(s *subject) *snapshot.Histogram
}

// level says which subjects a family speaks of, and so which labels every one
// of its series has.
type level uint8

const (
	levelContainer level = iota
	levelPod
	levelQoS
	levelKubepods
	levelNode
	levelSource
	levelRegistry // kept by client_golang's registry, not by the gatherer
	levelCgroup   // every cgroup, under cAdvisor's names
	levelMachine  // the node, under cAdvisor's names
	levelOOM      // containers, longer than levelContainer has them
	levelHint     // containers that have a hint
)

// labels returns the names of the labels that every series of the level has,
// the most significant for sorting first.
func (l level) labels() []string {
	switch l {
	case levelContainer, levelOOM:
		return []string{"namespace", "pod", "container", "qos"}
	case levelHint:
		return []string{"namespace", "pod", "container", "qos", "workload_kind", "workload"}
	case levelPod:
		return []string{"namespace", "pod", "qos"}
	case levelQoS:
		return []string{"qos"}
	case levelSource:
		return []string{"source"}
	case levelCgroup:
		return []string{"id", "namespace", "pod", "container", "image", "name"}
	}
	return nil
}

// appendLabels appends the values of l.labels() for s.
func (l level) appendLabels(values []string, s *subject) []string {
	switch l {
	case levelContainer:
		c := s.container
		return append(values, c.Identity.Namespace, c.Identity.Pod, c.Identity.Name, c.QoS.String())
	case levelHint:
		id := s.container.Identity
		return append(values, id.Namespace, id.Pod, id.Name, s.container.QoS.String(), id.WorkloadKind, id.Workload)
	case levelOOM:
		return append(values, s.oom.Namespace, s.oom.Pod, s.oom.Container, s.oom.QoS.String())
	case levelPod:
		return append(values, s.pod.Identity.Namespace, s.pod.Identity.Name, s.pod.QoS.String())
	case levelQoS:
		return append(values, s.class.String())
	case levelSource:
		return append(values, s.source.Name)
	case levelCgroup:
		return appendCgroupLabels(values, s)
	}
	return values
}

// subject is what one row of an exposition speaks of. Exactly one of slice,
// pod, container, source and oom is set, or none for the node.
type subject struct {
	snapshot  *snapshot.Snapshot
	measures  *snapshot.Measures
	slice     *snapshot.Slice
	class     cgroupfs.QoS // of slice, at the QoS level
	pod       *snapshot.Pod
	container *snapshot.Container
	source    *snapshot.Source
	oom       *snapshot.OOMSeries
}

// namespace returns the subject's Kubernetes namespace; empty for what has
// none or whose namespace is not known.
func (s *subject) namespace() string {
	switch {
	case s.container != nil:
		return s.container.Identity.Namespace
	case s.pod != nil:
		return s.pod.Identity.Namespace
	case s.oom != nil:
		return s.oom.Namespace
	}
	return ""
}

// baseUnit returns the unit that OpenMetrics may announce: it demands that
// the name ends with it.
func (f *family) baseUnit() string {
	if f.unit != "" && strings.HasSuffix(strings.TrimSuffix(f.name, "_total"), "_"+f.unit) {
		return f.unit
	}
	return ""
}

// sources returns where the family's values come from, in words.
func (f *family) sources() string {
	if f.source != "" {
		return f.source
	}
	var fields []cgroupfs.Field
	for i := range f.series {
		for _, field := range f.series[i].fields {
			if !slices.Contains(fields, field) {
				fields = append(fields, field)
			}
		}
	}
	var b strings.Builder
	file := ""
	for i, field := range fields {
		info := field.Info()
		switch {
		case i == 0:
			b.WriteString(field.String())
		case info.File == file:
			b.WriteString(", " + info.Key)
		default:
			b.WriteString("; " + field.String())
		}
		file = info.File
	}
	return b.String()
}

// started returns when the subject's cgroup or container started; zero if
// that is not known.
func (s *subject) started() time.Time {
	switch {
	case s.container != nil:
		return s.container.Started
	case s.pod != nil:
		return s.pod.Started
	}
	return s.slice.Started
}
