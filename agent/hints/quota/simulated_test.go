// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A simulation of CFS bandwidth control, millisecond by millisecond: threads
// that have work share the CPUs, and stand still for the rest of a period once
// its quota is gone. It knows no slices and no scheduling delay, so that what it
// says of a shape is not what a kernel does; an estimator that fails here fails
// there too.

const (
	step    = time.Millisecond
	period  = 100 // steps
	simCPUs = 4
	window  = 60_000 // steps
)

// source makes work for threads of its own. next returns the work, in steps of
// CPU time, that arrives at a step; busy is how much is not done yet.
type source struct {
	threads int
	next    func(at, busy int) []float64
	queue   []float64
	running []float64
}

type shape struct {
	name    string
	sources func(random *rand.Rand) []*source
}

// duty runs and sleeps in turn, each 20 % more or less than said.
func duty(run, sleep float64) func(*rand.Rand) []*source {
	return func(random *rand.Rand) []*source {
		about := func(v float64) float64 { return v * (0.8 + 0.4*random.Float64()) }
		wake, was := 7.0, false
		return []*source{{threads: 1, next: func(at, busy int) []float64 {
			if was && busy == 0 {
				wake = float64(at) + about(sleep)
			}
			was = busy > 0
			if busy > 0 || float64(at) < wake {
				return nil
			}
			was = true
			return []float64{about(run)}
		}}}
	}
}

// bursts gives n threads the same work at once, unless they are still at it.
func bursts(n int, work float64, every int) func(*rand.Rand) []*source {
	return func(random *rand.Rand) []*source {
		due := 7 + random.IntN(every)
		return []*source{{threads: n, next: func(at, busy int) []float64 {
			if at < due {
				return nil
			}
			due += every
			if busy > 0 {
				return nil
			}
			return slices.Repeat([]float64{work}, n)
		}}}
	}
}

// pool gives threads requests that arrive at random, so many a second.
func pool(threads int, perSecond float64, work func(*rand.Rand) float64) func(*rand.Rand) []*source {
	return func(random *rand.Rand) []*source {
		due := 0.0
		return []*source{{threads: threads, next: func(at, _ int) []float64 {
			var jobs []float64
			for ; due <= float64(at); due += random.ExpFloat64() * 1000 / perSecond {
				jobs = append(jobs, work(random))
			}
			return jobs
		}}}
	}
}

func exponential(mean float64) func(*rand.Rand) float64 {
	return func(random *rand.Rand) float64 { return random.ExpFloat64() * mean }
}

// pareto has the shape 1.5, as the work of requests often has.
func pareto(mean float64) func(*rand.Rand) float64 {
	return func(random *rand.Rand) float64 { return min(1000, mean/3*math.Pow(1-random.Float64(), -1/1.5)) }
}

// boot is work at the start and none after.
func boot(n int, work float64) func(*rand.Rand) []*source {
	return func(*rand.Rand) []*source {
		return []*source{{threads: n, next: func(at, _ int) []float64 {
			if at != 7 {
				return nil
			}
			return slices.Repeat([]float64{work}, n)
		}}}
	}
}

func both(a, b func(*rand.Rand) []*source) func(*rand.Rand) []*source {
	return func(random *rand.Rand) []*source { return append(a(random), b(random)...) }
}

func singleShapes() []shape {
	return []shape{
		{"busy", duty(1e6, 1)},
		{"duty 50 of 200", duty(50, 150)},
		{"duty 200 of 500", duty(200, 300)},
		{"duty 500 of 1000", duty(500, 500)},
		{"duty 30 of 150", duty(30, 120)},
		{"burst 4 x 20", bursts(4, 20, 1010)},
		{"burst 4 x 80", bursts(4, 80, 1010)},
		{"burst 2 x 35", bursts(2, 35, 710)},
		{"pause 8 x 30 beside a thread", both(bursts(8, 30, 2010), duty(5, 95))},
		{"boot 2 x 5 s, then calm", both(boot(2, 5000), duty(20, 980))},
	}
}

// mergingShapes begin their next burst while the last one still waits, some of
// them so soon that no pause shows between the two.
func mergingShapes() []shape {
	return []shape{{"burst 4 x 40 often", bursts(4, 40, 310)}}
}

func poolShapes() []shape {
	return []shape{
		{"pool of 4, 20/s of 10", pool(4, 20, exponential(10))},
		{"pool of 8, 5/s of 60, heavy tail", pool(8, 5, pareto(60))},
		{"pool of 4, 30/s of 8", pool(4, 30, exponential(8))},
		{"pool of 16, 8/s of 40", pool(16, 8, exponential(40))},
	}
}

// run plays a shape under a limit. It returns the records as the kernel would
// give them, and as polls of cpu.stat at the given step of each period would.
func (s shape) run(limit float64, seed uint64, phase int) (exact, polled *Records) {
	sources := s.sources(rand.New(rand.NewPCG(seed, 1)))
	start := time.Unix(0, 0)
	exact = &Records{Start: start, End: start.Add(window * step), QuotaCores: limit, Length: period * step, CPUs: simCPUs, Exact: true}
	for _, from := range sources {
		exact.Threads += from.threads
	}
	var polls Polls
	var counters Counters
	usage := 0.0
	for p := range window / period {
		record, quota, stall, heldAt := Period{Index: p}, limit*period, 0.0, period
		for at := p * period; at < (p+1)*period; at++ {
			if at%period == phase {
				counters.Usage = time.Duration(usage * float64(step))
				if p == 0 {
					polls.Begin(start.Add(time.Duration(at)*step), counters, limit, simCPUs)
				} else {
					polls.Add(start.Add(time.Duration(at)*step), counters)
				}
			}
			threads := arrive(sources, at)
			cpus := min(simCPUs, threads)
			if cpus > 0 && quota <= 1e-9 {
				record.Throttled, record.CPUs, record.Runnable = true, max(record.CPUs, cpus), max(record.Runnable, threads)
				stall += float64(cpus)
				heldAt = min(heldAt, at%period)
			} else if cpus > 0 {
				done := work(sources, min(quota, float64(cpus))/float64(threads))
				quota, usage = quota-done, usage+done
				record.Used += time.Duration(done * float64(step))
			}
		}
		record.Stall = time.Duration(stall * float64(step))
		if record.Throttled {
			record.Held = period*step - time.Duration(heldAt)*step
		}
		if record.Used > 0 || record.Throttled {
			exact.Periods = append(exact.Periods, record)
			counters.Periods++
			counters.Throttled += record.Stall
			if record.Throttled {
				counters.ThrottledPeriods++
			}
		}
	}
	return exact, polls.Records(exact.Threads)
}

// arrive lets threads take what arrived and returns how many have work.
func arrive(sources []*source, at int) (threads int) {
	for _, s := range sources {
		s.queue = append(s.queue, s.next(at, len(s.running)+len(s.queue))...)
		for len(s.queue) > 0 && len(s.running) < s.threads {
			s.running, s.queue = append(s.running, s.queue[0]), s.queue[1:]
		}
		threads += len(s.running)
	}
	return threads
}

// work lets every running thread do its share of a step.
func work(sources []*source, share float64) (done float64) {
	for _, s := range sources {
		kept := s.running[:0]
		for _, left := range s.running {
			now := min(left, share)
			done += now
			if left-now > 1e-9 {
				kept = append(kept, left-now)
			}
		}
		s.running = kept
	}
	return done
}

func (r *Records) share() float64 {
	throttled := 0
	for _, p := range r.Periods {
		if p.Throttled {
			throttled++
		}
	}
	return float64(throttled) / float64(max(1, len(r.Periods)))
}

// smallest bisects the smallest limit that throttles at most 1 % of periods.
func (s shape) smallest(seed uint64) float64 {
	low, high := 0.01, float64(simCPUs)
	for high/low > 1.01 {
		middle := math.Sqrt(low * high)
		if exact, _ := s.run(middle, seed, 0); exact.share() <= 0.01 {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
