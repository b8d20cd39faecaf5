// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"slices"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
)

// The sources that the sampler itself knows.
const (
	sourceCgroupFiles = "cgroup_files"
	sourceProcfs      = "procfs"
	sourceState       = "state"
	sourceThrottle    = "throttle"
	sourceStall       = "stall"
	sourcePeriods     = "periods"
)

// sources keeps which sources are up, and since when.
type sources struct {
	own        []snapshot.Source
	reader     Reader
	identities Identities
	node       error // of the last look at the node
	journal    error // of the last write
	waiting    bool  // for kubepods, and said so
	blind      bool  // the node's processes are not visible
}

func (s *sources) init(reader Reader, identities Identities) {
	s.reader, s.identities = reader, identities
	s.own = []snapshot.Source{{Name: sourceCgroupFiles}, {Name: sourceProcfs}, {Name: sourceState}}
}

func (s *sources) update(now time.Time, treeErr error, of *Sampler) {
	switch _, ok := of.cfg.Tree.Kubepods(); {
	case treeErr != nil:
		s.set(sourceCgroupFiles, now, treeErr.Error())
	case !ok:
		s.set(sourceCgroupFiles, now, "there is no kubepods cgroup yet: waiting for the kubelet to make it")
		if !s.waiting {
			of.log.Info("there is no kubepods cgroup on this node yet; waiting for one (is the kubelet running? --cgroup.root names an unusual place)")
		}
		s.waiting = true
	default:
		s.set(sourceCgroupFiles, now, "")
		if s.waiting {
			of.log.Info("kubepods is there")
		}
		s.waiting = false
	}
	switch {
	case s.blind:
		s.set(sourceProcfs, now, "the node's processes are not visible, so there are no OOM scores: run the agent in the host's PID namespace (hostPID: true)")
	default:
		s.set(sourceProcfs, now, reason(s.node))
	}
	s.setPrograms(now, of)
	switch {
	case of.cfg.Journal == nil:
		s.set(sourceState, now, of.cfg.JournalReason)
	default:
		s.set(sourceState, now, reason(s.journal))
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// setPrograms takes over the state of the programs that tell events and durations. One that
// does a part of its work is up, with the reason of what is missing.
func (s *sources) setPrograms(now time.Time, of *Sampler) {
	statuses := of.cfg.EventsStatus
	if of.cfg.Events != nil {
		statuses = of.cfg.Events.Status()
	}
	s.setStatuses(now, statuses)
	if of.cfg.Periods != nil {
		s.setStatuses(now, []bpf.Status{of.cfg.Periods.Status()})
	}
	if of.cfg.Durations != nil {
		s.setStatuses(now, of.cfg.Durations.Status())
	}
}

func (s *sources) setStatuses(now time.Time, statuses []bpf.Status) {
	for _, status := range statuses {
		i := slices.IndexFunc(s.own, func(known snapshot.Source) bool { return known.Name == status.Program })
		if i < 0 {
			i = len(s.own)
			s.own = append(s.own, snapshot.Source{Name: status.Program})
		}
		source := &s.own[i]
		if source.Since.IsZero() || source.Up != status.Up() {
			source.Up, source.Since = status.Up(), now
			source.Reason = reason(status.Err)
		}
	}
}

// set notes that a source is up (no reason) or down.
func (s *sources) set(name string, now time.Time, reason string) {
	for i := range s.own {
		source := &s.own[i]
		if source.Name != name {
			continue
		}
		if up := reason == ""; source.Since.IsZero() || source.Up != up {
			source.Up, source.Since = up, now
		}
		source.Reason = reason
	}
}

func (s *sources) appendTo(to []snapshot.Source) []snapshot.Source {
	to = append(to, s.own...)
	to = s.reader.AppendSource(to)
	return append(to, s.identities.Sources()...)
}
