// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// podSink is where the API server's facts go.
type podSink struct{ r *Resolver }

// SetPod implements pods.Sink.
func (s podSink) SetPod(pod pods.Pod) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if !s.r.facts.setPod(pod, time.Now()) {
		s.r.reportBound(sourceKubernetes)
	} else if p := s.r.podEntries[pod.CgroupUID]; p != nil {
		s.r.refresh(p)
	}
}

// DeletePod implements pods.Sink.
func (s podSink) DeletePod(uid string) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	// Another pod with the same static pod's hash may have waited for this one's end.
	if p := s.r.podEntries[s.r.facts.deletePod(uid, time.Now())]; p != nil {
		s.r.refresh(p)
	}
}

// containerSink is where containerd's facts go.
type containerSink struct{ r *Resolver }

// SetContainer implements containers.Sink.
func (s containerSink) SetContainer(c containers.Container) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if !s.r.facts.setContainer(c, time.Now()) {
		s.r.reportBound(sourceContainerd)
	} else if e := s.r.entries[c.ID]; e != nil {
		s.r.refresh(e.pod)
	}
}

// DeleteContainer implements containers.Sink.
func (s containerSink) DeleteContainer(id string) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.facts.deleteContainer(id, time.Now())
}

// Connected implements containers.Sink. What containerd dropped while nobody
// listened is not told any more, so facts that no cgroup asked for go; they
// are looked up again if one does.
func (s containerSink) Connected() []string {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for id := range s.r.facts.containers {
		if s.r.entries[id] == nil {
			delete(s.r.facts.containers, id)
		}
	}
	var wanted []string
	for id, e := range s.r.entries {
		if e.runtime == nil {
			wanted = append(wanted, id)
		}
	}
	return wanted
}

func (r *Resolver) addSource(name string) {
	r.sources = append(r.sources, snapshot.Source{Name: name, Reason: "has not answered yet", Since: time.Now()})
}

// report takes over the state of a source and logs what is new.
func (r *Resolver) report(name string, up bool, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.setSource(name, up, reason) {
		return
	}
	if up {
		r.logger.Info("source is up", "source", name)
	} else {
		r.logger.Warn("source is down", "source", name, "reason", reason)
	}
}

// reportBound says, in the reason of a source that is up, that a bound bit.
func (r *Resolver) reportBound(name string) {
	for _, s := range r.sources {
		if s.Name == name && s.Up {
			r.setSource(name, true, "")
		}
	}
}

// leftOut returns what a source that is up has to complain about, or nothing.
func (r *Resolver) leftOut(name string) string {
	const text = "more than %d %s at once: %d were left out since the agent started, and have no names"
	switch {
	case name == sourceKubernetes && r.facts.refusedPods > 0:
		return fmt.Sprintf(text, maxPods, "pods", r.facts.refusedPods)
	case name == sourceContainerd && r.facts.refusedContainers > 0:
		return fmt.Sprintf(text, maxContainers, "containers", r.facts.refusedContainers)
	}
	return ""
}

// setSource returns false when nothing is new. It replaces the slice, because
// a snapshot may still hold the one before.
func (r *Resolver) setSource(name string, up bool, reason string) bool {
	if up {
		reason = r.leftOut(name)
	}
	sources := append([]snapshot.Source(nil), r.sources...)
	for i := range sources {
		s := &sources[i]
		if s.Name != name || s.Up == up && s.Reason == reason {
			continue
		}
		if s.Up != up {
			s.Since = time.Now()
		}
		s.Up, s.Reason = up, reason
		r.sources = sources
		return true
	}
	return false
}
