// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// poller polls the cpu.stat of the containers that are watched.
type poller struct {
	advisor *Advisor
	ticker  *time.Ticker // nil while nothing is watched
	watched []*polling
	spare   []*quota.Polls
}

// polling is one container under watch.
type polling struct {
	watch
	stat  Stat
	polls *quota.Polls
	until time.Time
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
		w.stat.Close()
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
	one := &polling{watch: w, stat: stat, polls: p.polls(), until: now.Add(windowLength)}
	one.polls.Begin(now, counters, w.quota, w.cpus)
	p.watched = append(p.watched, one)
	if p.ticker == nil {
		p.ticker = time.NewTicker(quota.PollEvery)
	}
}

func (p *poller) polls() *quota.Polls {
	if n := len(p.spare); n > 0 {
		spare := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return spare
	}
	return &quota.Polls{}
}

// poll reads every watched container once. A window that cannot go on comes to
// nothing.
func (p *poller) poll(now time.Time) {
	kept := p.watched[:0]
	for _, w := range p.watched {
		counters, ok := read(w.stat)
		ok = ok && w.polls.Add(now, counters)
		if ok && now.Before(w.until) {
			kept = append(kept, w)
			continue
		}
		w.stat.Close()
		r := result{watch: w.watch}
		if ok {
			r.records = w.polls.Records(w.threads).Clone()
		}
		p.spare = append(p.spare, w.polls)
		p.report(r)
	}
	clear(p.watched[len(kept):])
	p.watched = kept
	if len(kept) == 0 && p.ticker != nil {
		p.ticker.Stop()
		p.ticker = nil
	}
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
	usage, ok := r.Get(cgroupfs.CPUUsage)
	throttled, _ := r.Get(cgroupfs.CPUThrottled)
	periods, _ := r.Get(cgroupfs.CPUPeriods)
	throttledPeriods, _ := r.Get(cgroupfs.CPUThrottledPeriods)
	return quota.Counters{
		Usage: time.Duration(usage) * time.Microsecond, Throttled: time.Duration(throttled) * time.Microsecond,
		Periods: periods, ThrottledPeriods: throttledPeriods,
	}, ok
}
