// SPDX-License-Identifier: Apache-2.0

package snapshot

import "sync"

// Store holds the newest snapshot. Buffers go around between the publisher and
// the store, so that a sweep allocates nothing in steady state; a buffer that
// somebody still reads is never written to.
type Store struct {
	mu      sync.Mutex
	current *lease
	free    []*lease
	updated chan struct{}
}

type lease struct {
	snapshot Snapshot
	readers  int
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{updated: make(chan struct{})} }

// View calls fn with the newest snapshot, which is valid until fn returns. It
// returns false, without a call, when nothing was published yet.
func (s *Store) View(fn func(*Snapshot)) bool {
	current, release := s.Acquire()
	if current == nil {
		return false
	}
	defer release()
	fn(current)
	return true
}

// Acquire returns the newest snapshot and what gives it back, which must be
// called once. It returns nil and a no-op when nothing was published yet.
func (s *Store) Acquire() (*Snapshot, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.current
	if held == nil {
		return nil, func() {}
	}
	held.readers++
	return &held.snapshot, func() { s.release(held) }
}

func (s *Store) release(held *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held.readers--
	if held.readers == 0 && held != s.current {
		s.free = append(s.free, held)
	}
}

// Publish lets fill write the next snapshot into a buffer, which may hold an
// old one (its slices are there to be reused), and makes it the newest. Only
// one goroutine may publish.
func (s *Store) Publish(fill func(*Snapshot)) {
	next := s.buffer()
	fill(&next.snapshot)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current
	s.current = next
	if old != nil && old.readers == 0 {
		s.free = append(s.free, old)
	}
	close(s.updated)
	s.updated = make(chan struct{})
}

func (s *Store) buffer() *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		next := s.free[n-1]
		s.free = s.free[:n-1]
		return next
	}
	return &lease{}
}

// Updated returns a channel that is closed at the next Publish.
func (s *Store) Updated() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated
}
