// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"math"
	"time"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const (
	// maxWatches is how many containers are polled at once: 160 reads a second.
	maxWatches = 16
	// windowLength is how long a container is polled.
	windowLength = time.Minute
	// Throttled containers are polled again after this, all others in turn,
	// one at a time.
	againAfter = 10 * time.Minute
)

// rotation goes around the containers that are not throttled.
type rotation struct {
	watching int  // windows that are under way
	idle     bool // one of them is of a container that was not throttled
}

// watch asks for a window.
type watch struct {
	series  uint64
	cgroup  *cgroupfs.Cgroup
	quota   float64
	cpus    int
	threads int
	calm    bool // of a container that was not throttled
}

// result is a window that is over. Its records are nil if it came to nothing.
type result struct {
	watch
	records *quota.Records
}

// choose begins windows: of containers that are throttled, unless one was just
// looked at under the same limit, and of one other at a time.
func (a *Advisor) choose(snap *snapshot.Snapshot, now time.Time) {
	var next *snapshot.Container
	for i := range snap.Containers {
		c := &snap.Containers[i]
		s := a.subjects[c.Series]
		if s != nil {
			s.cpuLimit = cpuLimit(&c.Current).V
		}
		if s == nil || s.series == nil || s.watching || !c.Ended.IsZero() || !concerned(c) {
			continue
		}
		limit := cpuLimit(&c.Current)
		if !limit.Known {
			continue
		}
		changed := s.windows > 0 && another(limit.V, s.quota)
		switch {
		case now.Sub(s.windowAt) < againAfter && !changed && !s.windowAt.After(now):
		case s.throttled || changed:
			a.begin(c, s, now, limit.V, false)
		case next == nil || s.windowAt.Before(a.subjects[next.Series].windowAt):
			next = c
		}
	}
	if next != nil && !a.round.idle {
		s := a.subjects[next.Series]
		a.begin(next, s, now, cpuLimit(&next.Current).V, true)
	}
}

// another says whether two limits differ by more than the kernel's own rescaling
// of quota and period rounds.
func another(a, b float64) bool { return math.Abs(a-b) > 0.02*max(a, b) }

func (a *Advisor) begin(c *snapshot.Container, s *subject, now time.Time, limit float64, calm bool) {
	if a.round.watching >= maxWatches {
		a.stats.WindowsRefused++
		return
	}
	threads, _ := c.Current.Get(cgroupfs.PIDsCurrent)
	w := watch{
		series: c.Series, cgroup: &cgroupfs.Cgroup{ID: c.CgroupID, Path: c.Path, Level: cgroupfs.LevelContainer},
		quota: limit, cpus: int(a.facts.cpus.V), threads: int(threads), calm: calm,
	}
	select {
	case a.watches <- w:
		s.watching, s.windowAt = true, now
		a.round.watching++
		a.round.idle = a.round.idle || calm
	default: // Run is not running
	}
}

// takeResults takes in the windows that are over.
func (a *Advisor) takeResults() {
	for {
		select {
		case r := <-a.results:
			a.take(r)
		default:
			return
		}
	}
}

func (a *Advisor) take(r result) {
	a.round.watching--
	if r.calm {
		a.round.idle = false
	}
	s := a.subjects[r.series]
	if s == nil {
		return
	}
	s.watching = false
	if r.records == nil || s.series == nil || another(s.cpuLimit, r.quota) {
		return // of no limit in particular
	}
	s.windows++
	s.quota = r.quota
	a.stats.Windows++
	if a.cfg.OnWindow != nil {
		a.cfg.OnWindow(r.records)
	}
	if w := r.records.Window(); w.Periods > 0 {
		s.series.AddWindow(w)
		s.due = time.Time{}
	}
}
