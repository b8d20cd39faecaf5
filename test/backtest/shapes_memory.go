// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"math/rand/v2"
)

const mebibyte = 1 << 20

func memoryShapes() []shape { return append(heldMemoryShapes(), freedMemoryShapes()...) }

// heldMemoryShapes keep what they took, until they are started anew.
func heldMemoryShapes() []shape {
	return []shape{
		{"steady", func(r *rand.Rand) func(moment) float64 {
			size := between(r, 60, 2000) * mebibyte
			return func(moment) float64 { return size * noisy(r, 0.02) }
		}},
		{"warming-cache", func(r *rand.Rand) func(moment) float64 {
			base, cache, days := between(r, 80, 400)*mebibyte, between(r, 100, 1500)*mebibyte, between(r, 1, 5)
			return func(m moment) float64 { return base + cache*(1-math.Exp(-m.day/days))*noisy(r, 0.02) }
		}},
		{"leak", func(r *rand.Rand) func(moment) float64 {
			base, daily, every := between(r, 80, 400)*mebibyte, between(r, 0.04, 0.2), between(r, 3, 8)
			return func(m moment) float64 {
				return base * (1 + daily*math.Mod(m.day, every)) * noisy(r, 0.02)
			}
		}},
		{"deploys", func(r *rand.Rand) func(moment) float64 {
			level := between(r, 100, 1500) * mebibyte
			next := between(r, 2, 6)
			return func(m moment) float64 {
				if m.day >= next {
					level *= math.Exp(between(r, -0.25, 0.35))
					next = m.day + between(r, 2, 6)
				}
				return level * noisy(r, 0.02)
			}
		}},
		{"growing-data", func(r *rand.Rand) func(moment) float64 {
			base, growth := between(r, 100, 1000)*mebibyte, between(r, 0.005, 0.04)
			return func(m moment) float64 { return base * (1 + growth*m.day) * noisy(r, 0.015) }
		}},
	}
}

// freedMemoryShapes give back what they took.
func freedMemoryShapes() []shape {
	return []shape{
		{"daily", func(r *rand.Rand) func(moment) float64 {
			size, low := between(r, 100, 2000)*mebibyte, between(r, 0.5, 0.8)
			return func(m moment) float64 { return size * (low + (1-low)*wave(m, 4)) * noisy(r, 0.03) }
		}},
		{"weekly", func(r *rand.Rand) func(moment) float64 {
			size, quiet := between(r, 100, 2000)*mebibyte, between(r, 0.4, 0.7)
			return func(m moment) float64 {
				v := size * (0.6 + 0.4*wave(m, 4)) * noisy(r, 0.03)
				if weekend(m) {
					v *= quiet
				}
				return v
			}
		}},
		{"garbage-collected", func(r *rand.Rand) func(moment) float64 {
			base, heap, steps := between(r, 100, 500)*mebibyte, between(r, 100, 1500)*mebibyte, between(r, 8, 60)
			return func(m moment) float64 {
				filled := math.Mod(float64(m.step), steps) / steps
				return base + heap*(0.3+0.7*filled)*noisy(r, 0.03)
			}
		}},
		{"nightly-job", func(r *rand.Rand) func(moment) float64 {
			base, job, hour := between(r, 60, 300)*mebibyte, between(r, 200, 2000)*mebibyte, math.Floor(between(r, 0, 23))
			size := 1.0
			return func(m moment) float64 {
				if m.hour >= hour && m.hour < hour+1 {
					return base + job*size*noisy(r, 0.03)
				}
				size = noisy(r, 0.12) // of tonight's work
				return base * noisy(r, 0.02)
			}
		}},
		{"weekly-report", func(r *rand.Rand) func(moment) float64 {
			base, report, weekday := between(r, 80, 400)*mebibyte, between(r, 1.3, 2.5), r.IntN(7)
			return func(m moment) float64 {
				if int(m.day)%7 == weekday && m.hour >= 6 && m.hour < 8 {
					return base * report * noisy(r, 0.05)
				}
				return base * noisy(r, 0.03)
			}
		}},
		{"rare-spike", func(r *rand.Rand) func(moment) float64 {
			base := between(r, 80, 800) * mebibyte
			left, height := 0, 1.0
			return func(moment) float64 {
				if left--; left < 0 && r.Float64() < 0.4/float64(stepsADay) {
					left, height = r.IntN(12)+1, between(r, 1.2, 2)
				}
				v := base * noisy(r, 0.03)
				if left >= 0 {
					v *= height
				}
				return v
			}
		}},
	}
}
