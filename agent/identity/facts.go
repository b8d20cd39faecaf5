// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
)

const (
	// keepGone is how long facts are kept after a source dropped their object.
	// A container that lives for less than a sweep is asked for after its end.
	keepGone = 2 * time.Minute

	// maxPods and maxContainers bound the facts. A kubelet runs 110 pods by
	// default and a few hundred where somebody raised it; containers that
	// ended stay in containerd until the kubelet removes them.
	maxPods       = 4096
	maxContainers = 16384
)

// facts is what the sources said, by the keys that cgroup paths have. Keys are
// unique for ever, unlike names: a StatefulSet's next pod has the same name.
type facts struct {
	pods       map[string]*podFacts       // by the API's UID
	static     map[string][]*podFacts     // those that say to be static pods, by the hash in the path, oldest first
	containers map[string]*containerFacts // by id
	// refused counts what was left out to stay within the bounds, ever.
	refusedPods, refusedContainers int
}

type podFacts struct {
	pods.Pod
	gone time.Time // when the pod ended or the API dropped it, zero before
}

type containerFacts struct {
	containers.Container
	gone time.Time // when containerd dropped it, zero before
}

func newFacts() facts {
	return facts{
		pods:       map[string]*podFacts{},
		static:     map[string][]*podFacts{},
		containers: map[string]*containerFacts{},
	}
}

// pod returns the facts of the pod whose cgroup has this UID in its path, or
// nil. Anybody who may create pods may give one the annotation of a static
// pod: a pod that has the UID itself goes first, then the one that had the hash
// first among those that live and that agrees lets pass.
func (f *facts) pod(cgroupUID string, agrees func(*pods.Pod) bool) *pods.Pod {
	if p := f.pods[cgroupUID]; p != nil {
		return &p.Pod
	}
	var ended *pods.Pod
	for _, p := range f.static[cgroupUID] {
		switch {
		case !agrees(&p.Pod):
		case p.gone.IsZero():
			return &p.Pod
		default:
			ended = &p.Pod
		}
	}
	return ended
}

// setPod returns false when there is no room.
func (f *facts) setPod(pod pods.Pod, now time.Time) bool {
	before := f.pods[pod.UID]
	if before == nil && len(f.pods) >= maxPods {
		f.dropGone(now)
		if len(f.pods) >= maxPods {
			f.refusedPods++
			return false
		}
	}
	p := &podFacts{Pod: pod}
	if pod.Ended {
		p.gone = now
		if before != nil && !before.gone.IsZero() {
			p.gone = before.gone
		}
	}
	f.pods[pod.UID] = p
	f.setStatic(before, p)
	return true
}

// setStatic puts p among those of its hash, in the place of the same pod's
// facts before, if it had any.
func (f *facts) setStatic(before, p *podFacts) {
	if before != nil && before.CgroupUID != p.CgroupUID {
		f.dropStatic(before)
	}
	if p.CgroupUID == p.UID {
		return
	}
	all := f.static[p.CgroupUID]
	if i := slices.Index(all, before); i >= 0 {
		all[i] = p
		return
	}
	f.static[p.CgroupUID] = append(all, p)
}

func (f *facts) dropStatic(p *podFacts) {
	rest := slices.DeleteFunc(f.static[p.CgroupUID], func(other *podFacts) bool { return other == p })
	if len(rest) > 0 {
		f.static[p.CgroupUID] = rest
		return
	}
	delete(f.static, p.CgroupUID)
}

// deletePod returns the UID in the path of the pod's cgroups, or empty if the
// pod is unknown.
func (f *facts) deletePod(uid string, now time.Time) (cgroupUID string) {
	p := f.pods[uid]
	if p == nil {
		return ""
	}
	if p.gone.IsZero() {
		p.gone = now
	}
	return p.CgroupUID
}

// setContainer returns false when there is no room.
func (f *facts) setContainer(c containers.Container, now time.Time) bool {
	if f.containers[c.ID] == nil && len(f.containers) >= maxContainers {
		f.dropGone(now)
		if len(f.containers) >= maxContainers {
			f.refusedContainers++
			return false
		}
	}
	f.containers[c.ID] = &containerFacts{Container: c}
	return true
}

func (f *facts) deleteContainer(id string, now time.Time) {
	if c := f.containers[id]; c != nil && c.gone.IsZero() {
		c.gone = now
	}
}

// expire drops what has been gone long enough.
func (f *facts) expire(now time.Time) { f.dropGone(now.Add(-keepGone)) }

// dropGone drops what was gone at the latest at that time.
func (f *facts) dropGone(latest time.Time) {
	gone := func(t time.Time) bool { return !t.IsZero() && !t.After(latest) }
	for uid, p := range f.pods {
		if !gone(p.gone) {
			continue
		}
		delete(f.pods, uid)
		f.dropStatic(p)
	}
	for id, c := range f.containers {
		if gone(c.gone) {
			delete(f.containers, id)
		}
	}
}
