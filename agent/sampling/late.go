// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const (
	// maxLate bounds the accounts that are kept for what may come late.
	maxLate = 4096
	// lateSweeps is for how many sweeps it may: the kernel lets go of a task
	// some ten milliseconds after its end.
	lateSweeps = 30
)

// lateFields are the counters that may be more after a death than it said.
var lateFields = slices.Concat([]cgroupfs.Field{lateUsage: cgroupfs.CPUUsage, lateUser: cgroupfs.CPUUser, lateSystem: cgroupfs.CPUSystem}, cfsFields[:])

const (
	lateUsage = iota
	lateUser
	lateSystem
	lateParts                     // how many these are
	lateThrottled = lateParts + 2 // as cfsFields has it
)

// lateAccount is an account that was closed with the counters of its death, for
// what comes after it.
type lateAccount struct {
	cgroup *cgroupfs.Cgroup
	series *ledger.Series
	sweep  uint64
	// counters are those of lateFields, as of countedAt.
	counters  [lateParts + len(cfsFields)]uint64
	countedAt time.Time
}

// awaitLate notes with what an account is closed.
func (s *Sampler) awaitLate(m *member) {
	if !m.final && !m.late {
		return
	}
	if len(s.lifecycle.late) >= maxLate {
		s.cfg.Telemetry.SweepErrors("event_incomplete", 1)
		return
	}
	a := &lateAccount{cgroup: m.cgroup, series: m.inc.Series(), sweep: s.counts.sweeps, countedAt: m.countedAt}
	for i, f := range lateFields {
		a.counters[i], _ = m.reading.Get(f)
	}
	s.lifecycle.late[m.cgroup.ID] = a
}

// addLate adds to a closed account what was used after the death that closed
// it.
func (s *Sampler) addLate(a *lateAccount, told *cgroupfs.Reading, at time.Time) {
	if s.cfg.Book.Find(a.series.Key()) != a.series {
		return // it has been dropped
	}
	now := a.counters
	for i, f := range lateFields {
		if v, ok := told.Get(f); ok {
			now[i] = max(v, a.counters[i])
		}
	}
	now[lateUsage] = min(now[lateUsage], s.mostUsage(a.counters[lateUsage], a.countedAt, at))
	// However the kernel splits the time now, the parts grow by what the whole
	// does.
	grown := now[lateUsage] - a.counters[lateUsage]
	user := min(now[lateUser]-a.counters[lateUser], grown)
	now[lateUser] = a.counters[lateUser] + user
	now[lateSystem] = a.counters[lateSystem] + grown - user
	for i, f := range lateFields {
		if now[i] == a.counters[i] {
			continue
		}
		a.series.Accumulate(f, now[i]-a.counters[i])
		if a.cgroup.Level == cgroupfs.LevelContainer && slices.Contains(cfsFields[:], f) {
			s.classes.add(a.cgroup.QoS, f, now[i]-a.counters[i])
		}
	}
	if a.cgroup.Level == cgroupfs.LevelContainer {
		s.cfg.Lives.Late(a.cgroup.ID, now[lateUsage], now[lateThrottled])
	}
	a.counters, a.countedAt = now, at
	s.ended = true
}

// moveLate follows an account to the series of its name.
func (l *lifecycle) moveLate(cgroup uint64, to *ledger.Series) {
	if a := l.late[cgroup]; a != nil {
		a.series = to
	}
}

func (l *lifecycle) forgetLate(sweep uint64) {
	for id, a := range l.late {
		if sweep-a.sweep >= lateSweeps {
			delete(l.late, id)
		}
	}
}
