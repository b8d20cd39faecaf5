// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

const microsPerSecond = 1e6

// inBaseUnit converts a field's raw value to the unit that it is exported in.
// Division is exact to the last digit that a float64 holds, multiplication by
// 1e-6 is not.
func inBaseUnit(f cgroupfs.Field, raw uint64) float64 {
	if f.Info().Unit == cgroupfs.UnitMicroseconds {
		return float64(raw) / microsPerSecond
	}
	return float64(raw)
}

// total is the series of a counter that goes on over container restarts.
func total(f cgroupfs.Field, labelValues ...string) series {
	return series{
		values: labelValues,
		fields: []cgroupfs.Field{f},
		value: func(s *subject) (float64, bool) {
			raw, ok := s.measures.Total.Get(f)
			return inBaseUnit(f, raw), ok
		},
	}
}

// current is the series of what the living cgroup says. A limit that is
// Unlimited does not exist.
func current(f cgroupfs.Field, labelValues ...string) series {
	return series{
		values: labelValues,
		fields: []cgroupfs.Field{f},
		value: func(s *subject) (float64, bool) {
			raw, ok := s.measures.Current.Get(f)
			return inBaseUnit(f, raw), ok && raw != cgroupfs.Unlimited
		},
	}
}

// inDetail returns s as one that only users who ask for detail get.
func inDetail(s series) series {
	s.detail = true
	return s
}

// detail is a series that only users who ask for it get.
func detail(s series) series {
	s.detail = true
	return s
}

// when returns s with its value absent wherever the condition does not hold.
func when(condition func(*subject) bool, s series) series {
	value := s.value
	s.value = func(subject *subject) (float64, bool) {
		if !condition(subject) {
			return 0, false
		}
		return value(subject)
	}
	return s
}

// hasQuota says whether the living cgroup has a CPU quota.
func hasQuota(s *subject) bool {
	quota, ok := s.measures.Current.Get(cgroupfs.CPUQuota)
	return ok && quota != cgroupfs.Unlimited
}

// hasThrottling says whether the CFS counters mean something: there is a
// quota, or was one in an earlier incarnation or before it was taken away.
// A slice has the sums over its containers, or nothing.
func hasThrottling(s *subject) bool {
	if s.slice != nil || hasQuota(s) {
		return true
	}
	periods, _ := s.measures.Total.Get(cgroupfs.CPUPeriods)
	return periods > 0
}

// maySwap returns s with its value absent where the cgroup may not swap and
// never did. memory.swap.current exists on nodes without any swap.
func maySwap(s series) series {
	value := s.value
	s.value = func(subject *subject) (float64, bool) {
		v, ok := value(subject)
		limit, _ := subject.measures.Current.Get(cgroupfs.SwapMax)
		return v, ok && (v > 0 || limit > 0)
	}
	return s
}

// cpuLimit is the series of a quota in cores. The kernel rescales quota and
// period together when its timer is late, so the ratio is what stays.
func cpuLimit() series {
	return series{
		fields: []cgroupfs.Field{cgroupfs.CPUQuota, cgroupfs.CPUPeriod},
		value: func(s *subject) (float64, bool) {
			quota, _ := s.measures.Current.Get(cgroupfs.CPUQuota)
			period, ok := s.measures.Current.Get(cgroupfs.CPUPeriod)
			if !ok || period == 0 || !hasQuota(s) {
				return 0, false
			}
			return float64(quota) / float64(period), true
		},
	}
}

func workingSet() series {
	return series{
		fields: []cgroupfs.Field{cgroupfs.MemoryCurrent, cgroupfs.MemoryInactiveFile},
		value: func(s *subject) (float64, bool) {
			bytes, ok := s.measures.Current.WorkingSet()
			return float64(bytes), ok
		},
	}
}

// amount is the series of a number that may be unknown, divided into the
// family's unit.
func amount(of func(*subject) snapshot.Amount, divisor float64) series {
	return series{value: func(s *subject) (float64, bool) {
		a := of(s)
		return float64(a.N) / divisor, a.Known
	}}
}

// number is the series of a value that always exists.
func number(of func(*subject) float64, labelValues ...string) series {
	return series{
		values: labelValues,
		value:  func(s *subject) (float64, bool) { return of(s), true },
	}
}

// unixSeconds returns t with millisecond precision, and false for a time that
// is not known.
func unixSeconds(t time.Time) (float64, bool) {
	return float64(t.UnixMilli()) / 1e3, !t.IsZero()
}
