// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"strings"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// refresh works out anew who a pod and its containers are. An identity, once
// known, only gets better: what the sources no longer have does not undo it.
func (r *Resolver) refresh(p *podEntry) {
	for _, e := range p.containers {
		if facts := r.facts.containers[e.id]; facts != nil {
			e.runtime = &facts.Container
		}
	}
	if facts := r.facts.pod(p.uid, p.agrees); facts != nil {
		p.facts = facts
	} else if p.facts != nil && !p.agrees(p.facts) {
		p.facts = nil
	}
	changed := false
	if now := identifyPod(p); now != *p.identity {
		p.identity, changed = &now, true
	}
	for _, e := range p.containers {
		changed = refreshContainer(e) || changed
	}
	if !changed {
		return
	}
	select {
	case r.changes <- struct{}{}:
	default:
	}
}

// agrees says whether the API's pod can be the one of this cgroup. Who has the
// UID itself is; whose hash only is the same must have the names that containerd
// has from the kubelet, as the hash may be forged.
func (p *podEntry) agrees(pod *pods.Pod) bool {
	if pod.UID == p.uid {
		return true
	}
	for _, e := range p.containers {
		if c := e.runtime; c != nil && (c.Namespace != pod.Namespace || c.Pod != pod.Name) {
			return false
		}
	}
	return true
}

// refreshContainer says whether something changed.
func refreshContainer(e *containerEntry) bool {
	api := containerOf(e.pod.facts, e.id, e.runtime)
	sandbox := e.runtime != nil && e.runtime.Sandbox
	if e.runtime == nil && api == nil {
		return false
	}
	changed := !e.sandboxKnown || e.sandbox != sandbox
	e.sandbox, e.sandboxKnown = sandbox, true
	now := identify(e.pod.facts, api, e.runtime)
	if now != *e.identity {
		e.identity, changed = &now, true
	}
	return changed
}

// containerOf finds a container in what the API says of its pod, by its id or,
// before the pod's status has the id, by the name that the runtime gives.
func containerOf(pod *pods.Pod, id string, runtime *containers.Container) *pods.Container {
	if pod == nil {
		return nil
	}
	for i := range pod.Containers {
		if c := &pod.Containers[i]; c.ID == id || c.PreviousID == id {
			return c
		}
	}
	if runtime == nil || runtime.Sandbox {
		return nil
	}
	for i := range pod.Containers {
		if c := &pod.Containers[i]; c.Name == runtime.Name {
			return c
		}
	}
	return nil
}

// identify joins what the API says of the pod and the container with what the
// runtime says of the container. Each may be nil, not both of the latter two.
func identify(pod *pods.Pod, api *pods.Container, runtime *containers.Container) snapshot.ContainerIdentity {
	identity := snapshot.ContainerIdentity{Known: true}
	if runtime != nil {
		identity.Namespace, identity.Pod, identity.PodUID = runtime.Namespace, runtime.Pod, runtime.PodUID
		identity.Name = runtime.Name
		identity.Image, identity.Runtime = runtime.Image, containerdRuntime
	}
	if pod != nil {
		identity.Namespace, identity.Pod, identity.PodUID = pod.Namespace, pod.Name, pod.UID
		identity.WorkloadKind, identity.Workload = pod.WorkloadKind, pod.Workload
		identity.PriorityClass, identity.Policy = pod.PriorityClass, pod.Policy
		identity.PodCPURequestMillis, identity.PodMemoryRequestBytes = pod.CPURequestMillis, pod.MemoryRequestBytes
	}
	if api != nil {
		identity.Name, identity.Type = api.Name, api.Type
		if identity.Runtime == "" {
			identity.Runtime = api.Runtime
		}
		identity.CPURequestMillis, identity.MemoryRequestBytes = api.CPURequestMillis, api.MemoryRequestBytes
		identity.OOMScoreAdjExpected = api.OOMScoreAdj
		// The runtime's image is there first, and a label that changes is a
		// new series, so the API's only fills the gap.
		if identity.Image == "" || strings.HasPrefix(identity.Image, "sha256:") {
			identity.Image = api.Image
		}
	}
	return identity
}

// containerdRuntime is the scheme of containerd's ids in the API.
const containerdRuntime = "containerd"

// identifyPod takes the API's word, else that of any of the pod's containers.
func identifyPod(p *podEntry) snapshot.PodIdentity {
	if p.facts != nil {
		return snapshot.PodIdentity{
			Namespace: p.facts.Namespace, Name: p.facts.Name, UID: p.facts.UID, Known: true,
			CPURequestMillis: p.facts.CPURequestMillis, MemoryRequestBytes: p.facts.MemoryRequestBytes,
		}
	}
	for _, e := range p.containers {
		if c := e.runtime; c != nil {
			return snapshot.PodIdentity{Namespace: c.Namespace, Name: c.Pod, UID: c.PodUID, Known: true}
		}
	}
	return *p.identity
}
