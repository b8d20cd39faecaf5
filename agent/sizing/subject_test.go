// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"testing"

	"github.com/slicewatch/slicewatch/agent/snapshot"
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
