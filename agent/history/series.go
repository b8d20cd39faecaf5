// SPDX-License-Identifier: Apache-2.0

package history

import "time"

// Series is the history of one container of one workload: about 9 KiB, however
// long it is. It is for one goroutine.
type Series struct {
	key         Key
	first, last time.Time // of the samples; last also of what made the series

	cpu       demand
	peaks     peaks
	pressure  pressure
	ooms      ooms
	windows   windows
	published publication
}

func newSeries(key Key) *Series {
	s := &Series{key: key}
	s.cpu.init()
	return s
}

// Key returns whose history it is.
func (s *Series) Key() Key { return s.key }

// First and Last return when the oldest and the newest sample were taken; zero
// without samples.
func (s *Series) First() time.Time { return s.first }

// Last returns when the newest sample was taken, or when the series was made.
func (s *Series) Last() time.Time { return s.last }

// shift moves everything in time, because the clock was set.
func (s *Series) shift(by time.Duration) {
	move := func(at *time.Time) {
		if !at.IsZero() {
			*at = at.Add(by)
		}
	}
	move(&s.first)
	move(&s.last)
	s.cpu.shift(by, move)
	s.peaks.shift(by)
	s.pressure.shift(move)
	s.ooms.shift(move)
	s.windows.shift(move)
	s.published.shift(move)
}
