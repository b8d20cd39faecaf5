// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Facts is what holds for a container now. What is not known is left zero.
type Facts struct {
	// WorkloadKind is the kind of its controller ("StatefulSet"), QoS its class.
	WorkloadKind string
	QoS          cgroupfs.QoS
	// QoSKnown says whether QoS is set at all.
	QoSKnown bool
	// Annotation is the pod's slicewatch.dev/policy, empty without one.
	Annotation string

	// What is set for the container. Known and 0 for a request or limit that
	// is known not to be there.
	CPURequestCores, CPULimitCores       snapshot.Quantity
	MemoryRequestBytes, MemoryLimitBytes snapshot.Quantity

	// What the node has, of memory what all its pods together may have if
	// NodeMemoryOfPods is set.
	NodeCPUs, NodeMemoryBytes snapshot.Quantity
	NodeMemoryOfPods          bool

	// Runtime is what its command line shows of a language runtime or
	// database.
	Runtime snapshot.Runtime
}

// Settings are what users decide for all containers.
type Settings struct {
	// Policy is for pods without an annotation; empty takes burstable, and
	// guaranteed for StatefulSets.
	Policy Policy
	// CPUHeadroom multiplies the CPU request; 0 takes 1.
	CPUHeadroom float64
	// Exact leaves the amounts as computed: no rounding and no least amounts.
	// It is for comparisons.
	Exact bool
}

// isSet says whether a request or limit is known to be there.
func isSet(q snapshot.Quantity) bool { return q.Known && q.V > 0 }

// isMissing says whether a request or limit is known not to be there.
func isMissing(q snapshot.Quantity) bool { return q.Known && q.V <= 0 }
