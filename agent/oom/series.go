// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// key is what makes an exported series: its labels.
type key struct {
	namespace, pod, container string
	qos                       cgroupfs.QoS
	// named says that the names are Kubernetes' own.
	named bool
}

// series counts the kills of one set of labels.
type series struct {
	key              key
	number           uint64
	kills, processes [snapshot.NumOOMScopes]uint64
	live             int // containers that feed it now
	ended            time.Time
}

func (s *series) any() bool { return s.kills != [snapshot.NumOOMScopes]uint64{} }

// book holds all series.
type book struct {
	series map[key]*series
	order  []*series
	number uint64
}

func newBook() book { return book{series: map[key]*series{}} }

func (b *book) get(of key) *series {
	if s := b.series[of]; s != nil {
		return s
	}
	b.number++
	s := &series{key: of, number: b.number}
	b.series[of] = s
	b.order = append(b.order, s)
	return s
}

func (b *book) remove(s *series) {
	delete(b.series, s.key)
	b.order = slices.DeleteFunc(b.order, func(o *series) bool { return o == s })
}

// expire drops what ended before a time, and beyond the bound what ended
// first, of those without a kill before the others.
func (b *book) expire(before time.Time, most int) bool {
	drop := func(gone func(*series) bool) int {
		had := len(b.order)
		b.order = slices.DeleteFunc(b.order, func(s *series) bool {
			if s.live > 0 || s.ended.IsZero() || !gone(s) {
				return false
			}
			delete(b.series, s.key)
			return true
		})
		return had - len(b.order)
	}
	dropped := drop(func(s *series) bool { return !s.ended.After(before) })
	for _, withKills := range []bool{false, true} {
		var ends []time.Time
		total := 0
		for _, s := range b.order {
			if s.live == 0 {
				total++
				if s.any() == withKills {
					ends = append(ends, s.ended)
				}
			}
		}
		over := min(total-most, len(ends))
		if over <= 0 {
			continue
		}
		slices.SortFunc(ends, time.Time.Compare)
		cut := ends[over-1]
		dropped += drop(func(s *series) bool { return s.any() == withKills && !s.ended.After(cut) })
	}
	return dropped > 0
}

// attach makes a container feed the series of a key.
func (k *Keeper) attach(n *node, of key) {
	if n.series != nil && n.series.key == of {
		return
	}
	old, s := n.series, k.book.get(of)
	n.series = s
	k.changed = true
	if n.ended.IsZero() {
		s.live++
		s.ended = time.Time{}
	} else if s.live == 0 && s.ended.Before(n.ended) {
		s.ended = n.ended
	}
	if old == nil {
		return
	}
	if n.ended.IsZero() {
		old.live--
	}
	if !old.key.named { // it was this container's alone
		for scope := range old.kills {
			s.kills[scope] += old.kills[scope]
			s.processes[scope] += old.processes[scope]
		}
		k.book.remove(old)
	} else if old.live == 0 && old.ended.IsZero() {
		old.ended = n.ended
	}
}

// detach notes that a container does not feed its series any more.
func (s *series) detach(now time.Time) {
	if s.live--; s.live == 0 {
		s.ended = now
	}
}

// seriesOf returns the series that a kill is counted in, which for a sandbox
// is none: it has no labels of its own.
func (k *Keeper) seriesOf(n *node) *series {
	switch {
	case n.role == sandbox:
		return nil
	case n.series != nil:
		return n.series
	case n.isContainer() && n.cgroup == nil:
		return nil // from a loaded state that did not know it either
	}
	k.attach(n, k.keyOf(n))
	return n.series
}

// keyOf returns the labels of a container, or those of a pod with an empty
// container for what can be given to none of its containers.
func (k *Keeper) keyOf(n *node) key {
	of := key{qos: n.qos}
	if n.isContainer() {
		id := n.identity
		if id == nil {
			id = &snapshot.ContainerIdentity{Pod: n.cgroup.PodUID, Name: n.cgroup.ContainerID[:min(12, len(n.cgroup.ContainerID))]}
		}
		of.namespace, of.pod, of.container, of.named = id.Namespace, id.Pod, id.Name, id.Known
		return of
	}
	if n.cgroup != nil {
		of.pod = n.cgroup.PodUID
	}
	for _, child := range k.nodes {
		if child.parent == n && child.identity != nil && child.identity.Known {
			of.namespace, of.pod, of.named = child.identity.Namespace, child.identity.Pod, true
			break
		}
	}
	return of
}
