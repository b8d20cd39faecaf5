// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"slices"

	"github.com/slicewatch/slicewatch/agent/sampling/ledger"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// classes holds what the QoS classes and kubepods are made of in one sweep.
type classes struct {
	kubepods *member
	slices   [cgroupfs.NumQoS]*member // none for Guaranteed
	cfs      [cgroupfs.NumQoS]cgroupfs.Reading
}

// add notes that the quota counters of a class's containers grew.
func (c *classes) add(q cgroupfs.QoS, f cgroupfs.Field, delta uint64) { c.cfs[q].Add(f, delta) }

// ownFields are the counters that a slice's own files tell: all but those of
// its quota, which it has none of.
var ownFields = slices.DeleteFunc(slices.Clone(ledger.Counters()), func(f cgroupfs.Field) bool {
	return slices.Contains(cfsFields[:], f)
})

// hierarchical are the counters that the kernel keeps for a cgroup and all
// below it, so that they can be subtracted. Pressure is not additive, and
// local events are of one cgroup only.
var hierarchical = []cgroupfs.Field{
	cgroupfs.CPUUsage, cgroupfs.CPUUser, cgroupfs.CPUSystem,
	cgroupfs.MemoryEventLow, cgroupfs.MemoryEventHigh, cgroupfs.MemoryEventMax,
	cgroupfs.MemoryEventOOM, cgroupfs.MemoryEventOOMKill, cgroupfs.MemoryEventOOMGroupKill,
	cgroupfs.MemoryMajorFaults, cgroupfs.MemoryRefaultAnon, cgroupfs.MemoryRefaultFile,
	cgroupfs.SwapEventHigh, cgroupfs.SwapEventMax, cgroupfs.SwapEventFail,
	cgroupfs.IOReadBytes, cgroupfs.IOWriteBytes, cgroupfs.IODiscardBytes,
	cgroupfs.IOReads, cgroupfs.IOWrites, cgroupfs.IODiscards,
}

func kubepodsKey() ledger.Key { return ledger.Key{Level: cgroupfs.LevelKubepods} }

func classKey(q cgroupfs.QoS) ledger.Key { return ledger.Key{Level: cgroupfs.LevelQoS, QoS: q} }

// accountClasses carries the counters of kubepods and of the classes. It comes
// after the containers', whose quota counters it adds up.
func (s *Sampler) accountClasses() {
	c := &s.classes
	c.kubepods, c.slices = nil, [cgroupfs.NumQoS]*member{}
	for _, m := range s.order {
		switch {
		case m.cgroup.Level > cgroupfs.LevelQoS:
			continue
		case !m.read:
		case m.cgroup.Level == cgroupfs.LevelKubepods:
			c.kubepods = m
			s.accountSlice(m, kubepodsKey())
		default:
			c.slices[m.cgroup.QoS] = m
			s.accountSlice(m, classKey(m.cgroup.QoS))
		}
	}
	if c.kubepods != nil {
		s.accountGuaranteed()
	}
	s.addQuotaCounters()
}

func (s *Sampler) accountSlice(m *member, key ledger.Key) {
	if m.inc == nil {
		m.inc = s.cfg.Book.Open(key, m.cgroup.ID)
	}
	s.cfg.Book.Record(m.inc, &m.reading, ownFields)
}

// accountGuaranteed takes the class that has no slice as kubepods minus the
// two others. kubepods is read before them, so that the difference is at most
// what the class used, and a late one is left out by RecordFloor.
func (s *Sampler) accountGuaranteed() {
	c := &s.classes
	if c.kubepods.guaranteed == nil {
		c.kubepods.guaranteed = s.cfg.Book.Open(classKey(cgroupfs.Guaranteed), c.kubepods.cgroup.ID)
	}
	var rest cgroupfs.Reading
	for _, f := range hierarchical {
		if v, ok := c.withoutSlices(f); ok {
			rest.Set(f, v)
		}
	}
	s.cfg.Book.RecordFloor(c.kubepods.guaranteed, &rest, hierarchical)
}

// withoutSlices returns kubepods' value of f less that of the slices; not ok
// if one of them should have it and has not.
func (c *classes) withoutSlices(f cgroupfs.Field) (uint64, bool) {
	v, ok := c.kubepods.reading.Get(f)
	for _, slice := range c.slices {
		if slice == nil {
			continue
		}
		part, has := slice.reading.Get(f)
		ok = ok && has
		v -= min(v, part)
	}
	return v, ok
}

// addQuotaCounters adds what the containers' quota counters grew by since the
// last sweep to their class and to kubepods.
func (s *Sampler) addQuotaCounters() {
	kubepods := s.cfg.Book.Find(kubepodsKey())
	for q := range s.classes.cfs {
		class := s.cfg.Book.Find(classKey(cgroupfs.QoS(q)))
		if kubepods == nil || class == nil {
			continue // no slice yet: kept for the sweep that finds one
		}
		for _, f := range cfsFields {
			if delta, ok := s.classes.cfs[q].Get(f); ok {
				class.Accumulate(f, delta)
				kubepods.Accumulate(f, delta)
			}
		}
		s.classes.cfs[q] = cgroupfs.Reading{}
	}
}

// guaranteedGauges returns the sums over the living Guaranteed pods. A limit
// that one of them has not, the class has not.
func (s *Sampler) guaranteedGauges() cgroupfs.Reading {
	var sum cgroupfs.Reading
	for f := range cgroupfs.NumFields {
		if info := f.Info(); isUse(f, info) && s.classes.kubepods.reading.Has(f) {
			sum.Set(f, 0) // a class without pods uses nothing
		}
	}
	for _, m := range s.order {
		if m.cgroup.Level != cgroupfs.LevelPod || m.cgroup.QoS != cgroupfs.Guaranteed || !m.read {
			continue
		}
		for f := range cgroupfs.NumFields {
			info := f.Info()
			v, ok := m.reading.Get(f)
			switch {
			case !ok || info.Counter || notSummed(f):
			case v == cgroupfs.Unlimited:
				sum.Set(f, cgroupfs.Unlimited)
			default:
				if have, _ := sum.Get(f); have != cgroupfs.Unlimited {
					sum.Add(f, v)
				}
			}
		}
		addQuota(&sum, &m.reading)
	}
	return sum
}

// isUse says whether a field is a gauge of what is used now.
func isUse(f cgroupfs.Field, info cgroupfs.FieldInfo) bool {
	return !info.Counter && !info.Setting && !notSummed(f)
}

// notSummed are gauges whose sum says nothing, or that addQuota sums.
func notSummed(f cgroupfs.Field) bool {
	return f == cgroupfs.MemoryPeak || f == cgroupfs.MemoryOOMGroup || f == cgroupfs.CPUQuota || f == cgroupfs.CPUPeriod
}

// sumPeriodMicros is the period that the sum of quotas is given in.
const sumPeriodMicros = 100_000

// addQuota adds a quota of any period to a sum of quotas.
func addQuota(sum, r *cgroupfs.Reading) {
	quota, ok := r.Get(cgroupfs.CPUQuota)
	period, ok2 := r.Get(cgroupfs.CPUPeriod)
	if !ok || !ok2 || period == 0 {
		return
	}
	have, _ := sum.Get(cgroupfs.CPUQuota)
	sum.Set(cgroupfs.CPUPeriod, sumPeriodMicros)
	if quota == cgroupfs.Unlimited || have == cgroupfs.Unlimited {
		sum.Set(cgroupfs.CPUQuota, cgroupfs.Unlimited)
		return
	}
	sum.Set(cgroupfs.CPUQuota, have+quota*sumPeriodMicros/period)
}

// fillClasses writes kubepods and the classes into a snapshot.
func (s *Sampler) fillClasses(snap *snapshot.Snapshot) {
	c := &s.classes
	snap.Kubepods = s.slice(c.kubepods, kubepodsKey())
	for q := range snap.Classes {
		snap.Classes[q] = s.slice(c.slices[q], classKey(cgroupfs.QoS(q)))
	}
	if c.kubepods != nil {
		snap.Classes[cgroupfs.Guaranteed].Exists = true
		snap.Classes[cgroupfs.Guaranteed].Current = s.guaranteedGauges()
	}
}

func (s *Sampler) slice(m *member, key ledger.Key) snapshot.Slice {
	var out snapshot.Slice
	if series := s.cfg.Book.Find(key); series != nil {
		out.Total = *series.Total()
	}
	if m != nil {
		out.Exists, out.Path, out.Current, out.Started = true, m.cgroup.Path, m.reading, m.started()
	}
	return out
}
