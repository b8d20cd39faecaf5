// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	generatedStep   = 5 * time.Minute
	cpuDays         = 14
	memoryDays      = 21
	stepsADay       = int(24 * time.Hour / generatedStep)
	seedsForAShape  = 7
	generatedOrigin = "generated"
)

// began is a Monday.
var began = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)

// moment is where a shape is: what it may depend on.
type moment struct {
	day  float64 // days since the trace began, with the part of the day
	hour float64 // of the day, 0 to 24
	step int
}

func momentOf(step int) moment {
	day := float64(step) / float64(stepsADay)
	return moment{day: day, hour: 24 * (day - math.Floor(day)), step: step}
}

// shape makes the use of a container over time. make draws what the trace keeps
// for good (sizes, hours, days) and returns use at a moment.
type shape struct {
	name string
	make func(r *rand.Rand) func(moment) float64
}

// Generated returns traces of CPU and memory use in the shapes that services
// and jobs have, the same ones at each call.
func Generated() Traces {
	var all Traces
	for _, s := range cpuShapes() {
		for seed := range uint64(seedsForAShape) {
			all.CPU = append(all.CPU, s.trace(seed, cpuDays))
		}
	}
	for _, s := range memoryShapes() {
		for seed := range uint64(seedsForAShape) {
			all.Memory = append(all.Memory, s.trace(seed, memoryDays))
		}
	}
	return all
}

func (s shape) trace(seed uint64, days int) Trace {
	r := rand.New(rand.NewPCG(seed, uint64(len(s.name))<<32|uint64(s.name[0])))
	use := s.make(r)
	t := Trace{Name: fmt.Sprintf("%s-%d", s.name, seed+1), Origin: generatedOrigin}
	for i := range days * stepsADay {
		t.Points = append(t.Points, Point{At: began.Add(time.Duration(i) * generatedStep), Value: max(0, use(momentOf(i)))})
	}
	return t
}

// between draws evenly.
func between(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

// noisy draws a factor around 1 that is never below 0; spread is its standard
// deviation, roughly.
func noisy(r *rand.Rand, spread float64) float64 {
	return math.Exp(spread*r.NormFloat64() - spread*spread/2)
}

// wave is 0 at its lowest hour and 1 twelve hours later.
func wave(m moment, lowest float64) float64 {
	return (1 - math.Cos(2*math.Pi*(m.hour-lowest)/24)) / 2
}

func weekend(m moment) bool { return int(m.day)%7 >= 5 }

func cpuShapes() []shape { return append(serviceShapes(), jobShapes()...) }

// serviceShapes follow what people do.
func serviceShapes() []shape {
	return []shape{
		{"steady", func(r *rand.Rand) func(moment) float64 {
			size, spread := between(r, 0.05, 2), between(r, 0.05, 0.3)
			return func(moment) float64 { return size * noisy(r, spread) }
		}},
		{"daily", func(r *rand.Rand) func(moment) float64 {
			size, low, hour := between(r, 0.2, 3), between(r, 0.1, 0.4), between(r, 2, 5)
			return func(m moment) float64 { return size * (low + (1-low)*wave(m, hour)) * noisy(r, 0.12) }
		}},
		{"weekly", func(r *rand.Rand) func(moment) float64 {
			size, quiet, hour := between(r, 0.2, 3), between(r, 0.2, 0.5), between(r, 2, 5)
			return func(m moment) float64 {
				v := size * (0.2 + 0.8*wave(m, hour)) * noisy(r, 0.12)
				if weekend(m) {
					v *= quiet
				}
				return v
			}
		}},
		{"flash-crowd", func(r *rand.Rand) func(moment) float64 {
			size, day, height, hours := between(r, 0.1, 1), between(r, 4, 12), between(r, 3, 8), between(r, 2, 10)
			return func(m moment) float64 {
				v := size * (0.5 + 0.5*wave(m, 4)) * noisy(r, 0.15)
				if since := (m.day - day) * 24; since >= 0 && since < hours {
					v *= height
				}
				return v
			}
		}},
		{"steps", func(r *rand.Rand) func(moment) float64 {
			levels := []float64{between(r, 0.1, 2)}
			days := []float64{between(r, 2, 5), between(r, 6, 9), between(r, 10, 13)}
			for range days {
				levels = append(levels, levels[len(levels)-1]*math.Exp(between(r, -1.1, 1.1)))
			}
			return func(m moment) float64 {
				level := levels[0]
				for i, day := range days {
					if m.day >= day {
						level = levels[i+1]
					}
				}
				return level * noisy(r, 0.1)
			}
		}},
		{"growth", func(r *rand.Rand) func(moment) float64 {
			size, growth := between(r, 0.1, 1), between(r, 0.03, 0.15)
			return func(m moment) float64 { return size * math.Exp(growth*m.day) * noisy(r, 0.12) }
		}},
	}
}

// jobShapes follow the clock, or chance.
func jobShapes() []shape {
	return []shape{
		{"hourly-batch", func(r *rand.Rand) func(moment) float64 {
			idle, busy, minutes := between(r, 0.01, 0.1), between(r, 0.5, 3), between(r, 5, 15)
			return func(m moment) float64 {
				if math.Mod(m.hour*60, 60) < minutes {
					return busy * noisy(r, 0.15)
				}
				return idle * noisy(r, 0.3)
			}
		}},
		{"boot-burst", func(r *rand.Rand) func(moment) float64 {
			size, height, every := between(r, 0.1, 0.4), between(r, 3, 6), between(r, 0.7, 2.5)
			return func(m moment) float64 {
				v := size * (0.6 + 0.4*wave(m, 4)) * noisy(r, 0.15)
				if math.Mod(m.day, every) < 1.0/float64(stepsADay) {
					v = size * height
				}
				return v
			}
		}},
		{"cron", func(r *rand.Rand) func(moment) float64 {
			idle, busy, hour, hours := between(r, 0.01, 0.1), between(r, 0.5, 3), math.Floor(between(r, 0, 22)), between(r, 0.4, 2)
			return func(m moment) float64 {
				if m.hour >= hour && m.hour < hour+hours {
					return busy * noisy(r, 0.1)
				}
				return idle * noisy(r, 0.3)
			}
		}},
		{"bursty", func(r *rand.Rand) func(moment) float64 {
			size, chance := between(r, 0.1, 1), between(r, 0.01, 0.08)
			left, height := 0, 0.0
			return func(moment) float64 {
				if left--; left < 0 && r.Float64() < chance {
					left, height = r.IntN(6)+1, between(r, 2, 8)
				}
				v := size * noisy(r, 0.25)
				if left >= 0 {
					v *= height
				}
				return v
			}
		}},
	}
}
