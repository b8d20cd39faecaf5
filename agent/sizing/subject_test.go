// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"math"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// A container of a pod that itself requests something lacks no request: the
// scheduler counts the pod's.
func TestRequestsOfPods(t *testing.T) {
	known := snapshot.Amount{N: 1 << 20, Known: true}
	for name, c := range map[string]struct {
		id          snapshot.ContainerIdentity
		cpu, memory bool
	}{
		"not told":         {snapshot.ContainerIdentity{}, false, false},
		"none":             {snapshot.ContainerIdentity{Type: snapshot.AppContainer}, true, true},
		"its own":          {snapshot.ContainerIdentity{Type: snapshot.AppContainer, CPURequestMillis: known, PodCPURequestMillis: known}, true, true},
		"the pod's memory": {snapshot.ContainerIdentity{Type: snapshot.AppContainer, PodMemoryRequestBytes: known}, true, false},
		"the pod's CPU":    {snapshot.ContainerIdentity{Type: snapshot.AppContainer, PodCPURequestMillis: known}, false, true},
	} {
		f := (&Advisor{}).factsOf(&snapshot.Container{Identity: &c.id})
		if f.CPURequestCores.Known != c.cpu || f.MemoryRequestBytes.Known != c.memory {
			t.Errorf("%s: requests are known: %t and %t, want %t and %t", name, f.CPURequestCores.Known, f.MemoryRequestBytes.Known, c.cpu, c.memory)
		}
	}
}

// No more can be used than the limit allows, whatever the moments of two readings
// say.
func TestRateStaysWithinTheLimit(t *testing.T) {
	limited := func(quota, burst uint64) *snapshot.Container {
		c := &snapshot.Container{}
		c.Current.Set(cgroupfs.CPUQuota, quota)
		c.Current.Set(cgroupfs.CPUPeriod, 100_000)
		if burst > 0 {
			c.Current.Set(cgroupfs.CPUBurstLimit, burst)
		}
		return c
	}
	var s subject
	for i, step := range []struct {
		c          *snapshot.Container
		rate, want float64
	}{
		{limited(100_000, 0), 1.5, 1.5}, // what the limit was before is not known
		{limited(100_000, 0), 1.5, 1},
		{limited(50_000, 0), 0.9, 0.9}, // lowered in the interval
		{limited(50_000, 0), 0.9, 0.5},
		{limited(50_000, 200_000), 0.9, 0.7},
		{limited(cgroupfs.Unlimited, 0), 3, 3},
		{limited(50_000, 0), 3, 3}, // had none before
		{&snapshot.Container{}, 3, 3},
	} {
		if got := s.within(step.c, history.Known(step.rate), time.Second); !got.Known || math.Abs(got.V-step.want) > 1e-9 {
			t.Errorf("step %d: %+v, want %g", i, got, step.want)
		}
	}
}
