// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// kernel tells of periods.
type kernel struct {
	observed map[uint64]bool
	refuse   error
	lost     uint64
	told     []quota.Tick // of cgroup 1, not drained yet
}

func (k *kernel) Observe(cgroup uint64) error {
	if k.refuse == nil {
		k.observed[cgroup] = true
	}
	return k.refuse
}

func (k *kernel) Ignore(cgroup uint64) { delete(k.observed, cgroup) }

func (k *kernel) Lost() uint64 { return k.lost }

func (k *kernel) Drain(each func(uint64, quota.Tick)) {
	for _, tick := range k.told {
		each(77, tick) // of nobody who is watched
		each(1, tick)
	}
	k.told = nil
}

// A window is made of what the kernel told, if it told everything.
func TestWindowsOfTheKernelsPeriods(t *testing.T) {
	for name, test := range map[string]struct {
		kernel kernel
		lose   bool
		exact  bool
	}{
		"told":    {exact: true},
		"lost":    {lose: true},
		"refused": {kernel: kernel{refuse: errors.New("no program")}},
	} {
		k := &test.kernel
		k.observed = map[uint64]bool{}
		app := newBox(1, "web-0", "app")
		app.micros, app.periods, app.throttled, app.stall = 50_000, 1, 1, 50_000
		p := newPoller(New(Config{Store: history.NewStore(history.Config{}), Stats: boxes{app}, Periods: k, Logger: slog.New(slog.DiscardHandler)}))
		now := time.Unix(0, 0)
		p.begin(watch{series: 1, cgroup: &cgroupfs.Cgroup{ID: 1}, quota: 0.5, cpus: 4, threads: 1}, now)
		if k.observed[1] != (k.refuse == nil) {
			t.Errorf("%s: observed %v", name, k.observed)
		}
		for i := range 601 {
			app.pass(1)
			k.told = append(k.told, quota.Tick{
				At: time.Duration(i) * quota.PollEvery, Length: quota.PollEvery, Quota: quota.PollEvery / 2,
				Stall: time.Duration(i) * quota.PollEvery / 2, Held: true, CPUs: 1, Waiting: 1, Count: uint32(i),
			})
			if test.lose && i == 300 {
				k.lost++
			}
			now = now.Add(quota.PollEvery)
			p.poll(now)
		}
		r := <-p.advisor.results
		if r.records == nil || r.records.Exact != test.exact || len(k.observed) != 0 {
			t.Fatalf("%s: %+v; still observed: %v", name, r.records, k.observed)
		}
		if w := r.records.Window(); w.NeedCores < 1 || w.NeedCores > 1.11 || w.Exact != test.exact {
			t.Errorf("%s: %+v", name, w)
		}
		p.close()
	}
}
