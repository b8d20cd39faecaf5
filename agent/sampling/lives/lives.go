// SPDX-License-Identifier: Apache-2.0

package lives

import (
	"cmp"
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

const (
	// PerContainer is how many ended lives of one namespace, pod and container
	// are kept. How many there were is what the container's starts are counted for.
	PerContainer = 16
	// Most is how many are kept in all: 2 MB.
	Most = 4096
	// Retention is for how long, as the OOM kills of an ended container are.
	Retention = time.Hour
	// KillGrace is how long before a life's end an OOM kill in it counts as that
	// end: the runtime has to notice and to remove the cgroup.
	KillGrace = 10 * time.Second
)

// Book holds the lives that ended. It is for one goroutine.
type Book struct {
	bootID string
	// order has every entry, oldest first, and some that were dropped.
	order    []*entry
	byCgroup map[uint64]*entry // those of this boot
	byName   map[name][]*entry // oldest first
	kept     int
	number   uint64
	// killsTo is the newest OOM record of which no life's end can still come.
	killsTo uint64

	view    []*snapshot.Life // newest first; replaced, never written to
	stale   bool             // view is
	changed bool             // since the last state
}

// entry is a place for a life, which is replaced and never written to.
type entry struct {
	life   *snapshot.Life
	noted  time.Time // when it was added
	number uint64
	gone   bool
}

type name struct{ namespace, pod, container string }

func nameOf(l *snapshot.Life) name { return name{l.Namespace, l.Pod, l.Container} }

// New returns an empty book. bootID names the boot of the kernel, whose cgroup ids
// the lives have.
func New(bootID string) *Book {
	return &Book{bootID: bootID, byCgroup: map[uint64]*entry{}, byName: map[name][]*entry{}}
}

// Add takes a life that ended. It returns how many other containers' lives were
// dropped before their time, to stay within the bound on all.
func (b *Book) Add(l snapshot.Life, now time.Time) (dropped int) {
	l.Started, l.Ended = round(l.Started), round(l.Ended)
	e := &entry{life: &l, noted: round(now)}
	b.byCgroup[l.CgroupID] = e
	return b.put(e)
}

// round returns a time as it is kept and shown.
func round(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func (b *Book) put(e *entry) (dropped int) {
	b.number++
	e.number = b.number
	b.order = append(b.order, e)
	b.kept++
	b.list(e)
	for b.kept > Most {
		b.trim()
		b.drop(b.order[0])
		dropped++
	}
	b.stale, b.changed = true, true
	return dropped
}

// list adds an entry to those of its name, and drops the oldest of too many.
func (b *Book) list(e *entry) {
	of := nameOf(e.life)
	b.byName[of] = append(b.byName[of], e)
	all := b.byName[of]
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	if len(all) > PerContainer {
		b.drop(all[0])
	}
}

func (b *Book) unlist(e *entry) {
	of := nameOf(e.life)
	left := slices.DeleteFunc(b.byName[of], func(o *entry) bool { return o == e })
	if len(left) == 0 {
		delete(b.byName, of)
		return
	}
	b.byName[of] = left
}

func (b *Book) drop(e *entry) {
	b.unlist(e)
	if b.byCgroup[e.life.CgroupID] == e {
		delete(b.byCgroup, e.life.CgroupID)
	}
	e.gone = true
	b.kept--
	b.stale, b.changed = true, true
}

// trim takes what was dropped off the beginning of the order.
func (b *Book) trim() {
	for len(b.order) > 0 && b.order[0].gone {
		b.order[0] = nil
		b.order = b.order[1:]
	}
}

// Expire drops what was added before the given time.
func (b *Book) Expire(before time.Time) {
	for b.trim(); len(b.order) > 0 && b.order[0].noted.Before(before); b.trim() {
		b.drop(b.order[0])
	}
}

// Newest returns the lives, the newest end first. The slice is not written to
// any more.
func (b *Book) Newest() []*snapshot.Life {
	if !b.stale {
		return b.view
	}
	b.stale = false
	b.order = slices.DeleteFunc(b.order, func(e *entry) bool { return e.gone })
	b.view = make([]*snapshot.Life, len(b.order))
	for i, e := range b.order {
		b.view[len(b.order)-1-i] = e.life
	}
	return b.view
}

// change replaces the life of a cgroup by a copy that was changed.
func (b *Book) change(e *entry, how func(*snapshot.Life)) {
	changed := *e.life
	how(&changed)
	e.life = &changed
	b.stale, b.changed = true, true
}

// Name gives the life of a cgroup the names that came after its end.
func (b *Book) Name(cgroup uint64, id *snapshot.ContainerIdentity) {
	e := b.byCgroup[cgroup]
	if e == nil {
		return
	}
	b.unlist(e)
	b.change(e, func(l *snapshot.Life) { l.Namespace, l.Pod, l.Container = id.Namespace, id.Pod, id.Name })
	b.list(e)
}

// Remove drops the life of a cgroup that turned out to be no container's.
func (b *Book) Remove(cgroup uint64) {
	if e := b.byCgroup[cgroup]; e != nil {
		b.drop(e)
	}
}

// Late takes over what a cgroup used, and for how long it was held, as was told
// after its death, both in µs. What was not known stays so where nothing is told.
func (b *Book) Late(cgroup, cpuMicros, throttledMicros uint64) {
	e := b.byCgroup[cgroup]
	if e == nil {
		return
	}
	b.change(e, func(l *snapshot.Life) {
		l.CPUMicros = atLeast(l.CPUMicros, cpuMicros)
		l.ThrottledMicros = atLeast(l.ThrottledMicros, throttledMicros)
	})
}

// NoteKills marks the lives that ended by one of the kills: where a cgroup goes
// at once, only the levels above it show that. Records are newest first.
func (b *Book) NoteKills(records []*snapshot.OOMRecord, now time.Time) {
	var settled uint64
	for _, r := range records {
		if r.ID <= b.killsTo {
			break
		}
		if settled == 0 && now.Sub(r.Time) > KillGrace {
			settled = r.ID
		}
		// The files tell a kill a few sweeps late: after the end is not too late.
		e := b.byCgroup[r.CgroupID]
		if e == nil || e.life.End == snapshot.LifeOOMKilled || r.Time.Before(e.life.Ended.Add(-KillGrace)) {
			continue
		}
		b.change(e, func(l *snapshot.Life) { l.End = snapshot.LifeOOMKilled })
	}
	b.killsTo = max(b.killsTo, settled)
}

func atLeast(a snapshot.Amount, v uint64) snapshot.Amount {
	if int64(v) <= a.N {
		return a
	}
	return snapshot.Amount{N: int64(v), Known: true}
}
