// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// reading is what one sweep found of a container's memory, in bytes; limit is 0
// without one.
type reading struct {
	at          time.Time // by the clock, as records are
	used, limit float64
}

// readings are the newest ones of a container. A record may be ten sweeps late
// (package oom), and what it speaks of was before that.
type readings struct {
	ring [16]reading
	next int
}

func (r *readings) add(one reading) {
	one.at = one.at.Round(0)
	r.ring[r.next] = one
	r.next = (r.next + 1) % len(r.ring)
}

// before returns the fullest of the last three readings not after a time: the time
// of a kill that files told of is late by up to two sweeps, and what was killed
// gave its memory back. It returns false without any.
func (r *readings) before(at time.Time) (fullest reading, found bool) {
	const last = 3
	for i, left := 1, last; i <= len(r.ring) && left > 0; i++ {
		one := r.ring[(r.next-i+len(r.ring))%len(r.ring)]
		if one.at.IsZero() || one.at.After(at) {
			continue
		}
		if left--; !found || one.used > fullest.used {
			fullest, found = one, true
		}
	}
	return fullest, found
}

// newest returns the newest reading, empty without any.
func (r *readings) newest() reading { return r.ring[(r.next-1+len(r.ring))%len(r.ring)] }

// suspect is a container that a kill may be told to, and what it held before.
type suspect struct {
	subject     *subject // nil of one that no sweep saw
	used, limit float64  // bytes; 0 where not known
}

// share is how much of its limit it used.
func (s suspect) share() float64 {
	if s.limit <= 0 {
		return 0
	}
	return s.used / s.limit
}

// victim returns the container that something was killed in.
func (a *Advisor) victim(r *snapshot.OOMRecord) suspect {
	for _, s := range a.podOf(r) {
		if s.identity.Name == r.Container {
			return s.suspected(r)
		}
	}
	return suspect{used: heldBefore(r)}
}

// culprit returns the container that a kill at its pod's limit is told to. That
// limit is the sum of the containers': whoever used most of its share is to get
// the raise, not who happened to be killed.
func (a *Advisor) culprit(r *snapshot.OOMRecord) suspect {
	victim := a.victim(r)
	most, limit := victim, 0.0
	if r.Limit != nil && r.Limit.Bytes.Known {
		limit = float64(r.Limit.Bytes.N)
	}
	left, unused := limit, limit
	for _, s := range a.podOf(r) {
		one := s.suspected(r)
		left, unused = left-one.limit, unused-one.used
		if one.share() > most.share() {
			most = one
		}
	}
	if victim.subject == nil {
		// What the others do not have is its.
		victim.limit = max(0, left)
		if victim.used == 0 {
			victim.used = max(0, unused)
		}
		if victim.share() >= most.share() {
			return victim
		}
	}
	if sum := limit - left; limit > 0 && sum > limit && most.limit > 0 {
		most.limit *= limit / sum // limits were raised since
	}
	return most
}

// suspected returns what a container held before a kill in its pod. Of one that
// was not looked at before that there is only what it holds now.
func (s *subject) suspected(r *snapshot.OOMRecord) suspect {
	held, found := s.held.before(r.Time)
	if !found {
		held = s.held.newest()
		if s.identity.Name == r.Container {
			held.used = max(held.used, heldBefore(r))
		}
	}
	return suspect{subject: s, used: held.used, limit: held.limit}
}

// heldBefore returns what a record says that the victim held, 0 if nothing.
func heldBefore(r *snapshot.OOMRecord) float64 {
	own, shared := uint64(0), uint64(0)
	for _, v := range r.Victims {
		own, shared = own+v.AnonBytes+v.FileBytes, max(shared, v.ShmemBytes)
	}
	most := float64(own + shared)
	for _, m := range r.Before[max(0, len(r.Before)-3):] {
		most = max(most, float64(m.WorkingSetBytes.N))
	}
	return most
}

// podOf returns the containers of a record's pod that are known.
func (a *Advisor) podOf(r *snapshot.OOMRecord) []*subject {
	var pod []*subject
	for _, s := range a.subjects {
		id := s.identity
		// A pod of a StatefulSet has the name of the one before it.
		another := r.PodUID != "" && id.PodUID != "" && r.PodUID != id.PodUID
		if s.series != nil && id.Namespace == r.Namespace && id.Pod == r.Pod && !another {
			pod = append(pod, s)
		}
	}
	return pod
}
