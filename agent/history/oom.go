// SPDX-License-Identifier: Apache-2.0

package history

import "time"

// OOMScope is the level whose memory limit an OOM kill was about.
type OOMScope uint8

// The scopes.
const (
	OOMContainer OOMScope = iota + 1
	OOMPod
	OOMElsewhere // a QoS class, kubepods or the node: not this container's to mend
)

// OOM is one OOM kill.
type OOM struct {
	At    time.Time
	Scope OOMScope
	// LimitBytes is the container's own limit at the time. A pod's limit is
	// the sum of these; where it fired, the kill is told to the container that
	// used most over its share, which need not be the victim's.
	LimitBytes float64
	// UsedBytes is what the container held, 0 if that is not known.
	UsedBytes float64
}

// ooms are the kills that were this container's to mend.
type ooms struct {
	newest OOM
	count  uint64
	others uint64    // kills with another cause
	other  time.Time // when the newest of those was
	// recent are the times of the newest kills, newest first: they tell a crash
	// loop from an accident.
	recent [8]time.Time
}

// AddOOM takes an OOM kill in. It is kept beside the memory peaks, not in them:
// a raised limit would feed itself otherwise.
func (s *Series) AddOOM(oom OOM) {
	oom.At = wall(oom.At)
	s.seen(oom.At)
	if oom.Scope == OOMElsewhere {
		s.ooms.others++
		s.ooms.other = oom.At
		return
	}
	// A second kill while the first one's consequences last raises the limit
	// further only if it happened at a higher one.
	if newest := &s.ooms.newest; oom.LimitBytes >= newest.LimitBytes || oom.At.Sub(newest.At) > OOMKept {
		*newest = oom
	} else {
		newest.At = oom.At
	}
	s.ooms.count++
	copy(s.ooms.recent[1:], s.ooms.recent[:])
	s.ooms.recent[0] = oom.At
}

// OOMKept is how long an OOM kill raises the hint. After that the peaks, which
// grew under the higher limit, say what is needed.
const OOMKept = 24 * time.Hour

// OOMs is what is known of a container's OOM kills.
type OOMs struct {
	// Newest is the newest kill at the container's or its pod's limit, with
	// the highest limit of those within OOMKept; zero if there was none.
	Newest OOM
	// Count is how many there were, Recent how many of them, up to 8, were
	// within OOMKept.
	Count  uint64
	Recent int
	// Elsewhere counts the kills that no limit of this container or its pod
	// caused, ElsewhereAt is when the newest was.
	Elsewhere   uint64
	ElsewhereAt time.Time
}

// OOMs returns what is known of the OOM kills.
func (s *Series) OOMs(now time.Time) OOMs {
	o := OOMs{Newest: s.ooms.newest, Count: s.ooms.count, Elsewhere: s.ooms.others, ElsewhereAt: s.ooms.other}
	for _, at := range s.ooms.recent {
		if !at.IsZero() && now.Sub(at) < OOMKept {
			o.Recent++
		}
	}
	return o
}

func (o *ooms) shift(move func(*time.Time)) {
	move(&o.newest.At)
	move(&o.other)
	for i := range o.recent {
		move(&o.recent[i])
	}
}
