// SPDX-License-Identifier: Apache-2.0

package sampling

import (
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/durations"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// track is what is known of a pod's or a container's series besides its
// counters, over its incarnations and for a while after the last of them.
type track struct {
	pod       *snapshot.PodIdentity
	container *snapshot.ContainerIdentity
	// What the newest incarnation was.
	path, containerID, runtime string
	cgroup                     uint64
	started                    time.Time
	peaks                      *peaks // containers only
	// held is how long the container was held, by kind; nil where it was not.
	held [durations.NumKinds]*snapshot.Histogram
}

// trackOf returns the track of a member that has an account.
func (s *Sampler) trackOf(m *member) *track {
	number := m.inc.Series().Number()
	t := s.tracks[number]
	if t == nil {
		t = s.newTrack(m.inc.Series())
	}
	if m.cgroup.ID >= t.cgroup {
		t.cgroup, t.path, t.containerID, t.runtime = m.cgroup.ID, m.cgroup.Path, m.cgroup.ContainerID, m.cgroup.Runtime
		t.started = m.started()
	}
	return t
}

// peaks are a container's highest values of the trailing minute.
type peaks struct {
	cpuMicros   trailingMax
	memoryBytes trailingMax
}

// joinPeaks takes over the peaks of another track of the same container.
func (t *track) joinPeaks(other *track) {
	switch {
	case other.peaks == nil:
	case t.peaks == nil:
		t.peaks = other.peaks
	default:
		t.peaks.cpuMicros.join(&other.peaks.cpuMicros)
		t.peaks.memoryBytes.join(&other.peaks.memoryBytes)
	}
}

// notePeaks takes over one reading's CPU rate and memory use.
func (t *track) notePeaks(m *member, now time.Time, interval time.Duration) {
	if t.peaks == nil {
		t.peaks = &peaks{}
	}
	if usage, ok := m.reading.Get(cgroupfs.CPUUsage); ok {
		elapsed := m.readAt.Sub(m.rateAt)
		switch {
		case m.rateAt.IsZero() || usage < m.rateUsage:
			m.rateAt, m.rateUsage = m.readAt, usage
		case elapsed >= interval/2: // shorter ones say little and look wild
			t.peaks.cpuMicros.note(now, uint64(float64(usage-m.rateUsage)/elapsed.Seconds()))
			m.rateAt, m.rateUsage = m.readAt, usage
		}
	}
	if current, ok := m.reading.Get(cgroupfs.MemoryCurrent); ok {
		t.peaks.memoryBytes.note(now, current)
	}
	if peak, ok := m.reading.Get(cgroupfs.MemoryPeak); ok {
		// A peak that was there when the agent came may be of any age.
		if peak > m.peak && (m.peak > 0 || m.watched) {
			t.peaks.memoryBytes.note(now, peak)
		}
		m.peak = peak
	}
}

// trailingMax is the highest value of the trailing minute, to the second.
type trailingMax struct {
	seconds [peakWindow]int64
	values  [peakWindow]uint64
}

const peakWindow = 60

func (p *trailingMax) note(now time.Time, v uint64) {
	second := now.Unix()
	i := int(uint64(second) % peakWindow)
	if p.seconds[i] != second {
		p.seconds[i], p.values[i] = second, v
		return
	}
	p.values[i] = max(p.values[i], v)
}

// join takes over what another one noted.
func (p *trailingMax) join(other *trailingMax) {
	for i, second := range other.seconds {
		switch {
		case second > p.seconds[i]:
			p.seconds[i], p.values[i] = second, other.values[i]
		case second == p.seconds[i]:
			p.values[i] = max(p.values[i], other.values[i])
		}
	}
}

// max returns the highest value noted in the minute before now.
func (p *trailingMax) max(now time.Time) snapshot.Amount {
	var highest snapshot.Amount
	for i, second := range p.seconds {
		if age := now.Unix() - second; second != 0 && age >= 0 && age < peakWindow {
			highest = snapshot.Amount{N: max(highest.N, int64(p.values[i])), Known: true}
		}
	}
	return highest
}
