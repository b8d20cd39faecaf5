// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// poller polls the cpu.stat of the containers that are watched, and listens to
// what the kernel tells of their periods. Polls are always made: whether the
// kernel told everything is known only in the end.
type poller struct {
	advisor *Advisor
	ticker  *time.Ticker // nil while nothing is watched
	watched []*polling
	spare   []*sheet
}

// sheet is what one window is written on.
type sheet struct {
	polls quota.Polls
	ticks quota.Ticks
}

// polling is one container under watch.
type polling struct {
	watch
	stat  Stat
	sheet *sheet
	until time.Time
	// observed says that the kernel tells of it, lost what it had failed to tell
	// when that began.
	observed bool
	lost     uint64
}

func newPoller(a *Advisor) *poller { return &poller{advisor: a} }

// tick returns what fires when it is time to poll; nil, which never does, while
// nothing is watched.
func (p *poller) tick() <-chan time.Time {
	if p.ticker == nil {
		return nil
	}
	return p.ticker.C
}

func (p *poller) close() {
	for _, w := range p.watched {
		p.leave(w)
	}
	if p.ticker != nil {
		p.ticker.Stop()
	}
}

func (p *poller) begin(w watch, now time.Time) {
	stat, err := p.advisor.cfg.Stats.Open(w.cgroup)
	if err != nil { // gone, as a rule
		p.report(result{watch: w})
		return
	}
	counters, ok := read(stat)
	if !ok {
		stat.Close()
		p.report(result{watch: w})
		return
	}
	one := &polling{watch: w, stat: stat, sheet: p.sheet(), until: now.Add(windowLength)}
	one.sheet.polls.Begin(now, counters, w.quota, w.cpus)
	one.sheet.ticks.Begin()
	p.observe(one)
	p.watched = append(p.watched, one)
	if p.ticker == nil {
		p.ticker = time.NewTicker(quota.PollEvery)
	}
}

// observe asks the kernel for records of periods; without them polls are all
// there is.
func (p *poller) observe(w *polling) {
	periods := p.advisor.cfg.Periods
	if periods == nil {
		return
	}
	p.listen() // what an earlier window of this container left is not of this one
	if err := periods.Observe(w.cgroup.ID); err != nil {
		p.advisor.cfg.Logger.Debug("a container's periods are polled only", "cgroup", w.cgroup.Path, "reason", err)
		return
	}
	w.observed, w.lost = true, periods.Lost()
}

func (p *poller) sheet() *sheet {
	if n := len(p.spare); n > 0 {
		spare := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return spare
	}
	return &sheet{}
}

// leave ends what begin began.
func (p *poller) leave(w *polling) {
	w.stat.Close()
	if w.observed {
		p.advisor.cfg.Periods.Ignore(w.cgroup.ID)
	}
}

// listen takes over what the kernel told of periods.
func (p *poller) listen() {
	if p.advisor.cfg.Periods == nil {
		return
	}
	p.advisor.cfg.Periods.Drain(func(cgroup uint64, tick quota.Tick) {
		for _, w := range p.watched {
			if w.cgroup.ID == cgroup {
				w.sheet.ticks.Add(tick)
				return
			}
		}
	})
}

// poll reads every watched container once. A window that cannot go on comes to
// nothing.
func (p *poller) poll(now time.Time) {
	p.listen()
	kept := p.watched[:0]
	for _, w := range p.watched {
		counters, ok := read(w.stat)
		ok = ok && w.sheet.polls.Add(now, counters)
		if ok && now.Before(w.until) {
			kept = append(kept, w)
			continue
		}
		p.leave(w)
		r := result{watch: w.watch}
		if ok {
			r.records = p.records(w)
		}
		p.spare = append(p.spare, w.sheet)
		p.report(r)
	}
	clear(p.watched[len(kept):])
	p.watched = kept
	if len(kept) == 0 && p.ticker != nil {
		p.ticker.Stop()
		p.ticker = nil
	}
}

// records returns the kernel's records of a window, or those of the polls where
// it told nothing or not everything.
func (p *poller) records(w *polling) *quota.Records {
	polls := w.sheet.polls.Records(w.threads)
	if w.observed && p.advisor.cfg.Periods.Lost() == w.lost {
		if exact, ok := w.sheet.ticks.Records(polls); ok {
			return exact
		}
	}
	return polls.Clone()
}

// report never waits: there are at most as many results under way as watches.
func (p *poller) report(r result) {
	select {
	case p.advisor.results <- r:
	default:
	}
}

func read(stat Stat) (quota.Counters, bool) {
	var r cgroupfs.Reading
	if stat.Read(&r) != nil {
		return quota.Counters{}, false
	}
	usage, hasUsage := r.Get(cgroupfs.CPUUsage)
	throttled, hasThrottled := r.Get(cgroupfs.CPUThrottled)
	periods, hasPeriods := r.Get(cgroupfs.CPUPeriods)
	throttledPeriods, hasThrottledPeriods := r.Get(cgroupfs.CPUThrottledPeriods)
	return quota.Counters{
		Usage: time.Duration(usage) * time.Microsecond, Throttled: time.Duration(throttled) * time.Microsecond,
		Periods: periods, ThrottledPeriods: throttledPeriods,
	}, hasUsage && hasThrottled && hasPeriods && hasThrottledPeriods
}
