// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/durations/stretch"
)

// Kind is what a duration is of.
type Kind uint8

// The kinds.
const (
	// Throttle is a stretch of time in which at least one CPU of the
	// container's own cgroup was held for its quota, as in cpu.stat of it:
	// quotas of cgroups that the container made below are not in it. One that
	// goes on for more than stretch.MaxNanos is told of in pieces.
	Throttle Kind = iota
	// StallHigh is one call in which a task of the container, or of a cgroup
	// below, was held for memory.high, its reclaim included.
	StallHigh
	// StallLimit is one reclaim of such a task because an allocation of its
	// hit the memory limit of the container, of its pod or of another cgroup
	// above or below it. What is part of a StallHigh is not in it.
	StallLimit
	NumKinds
)

const (
	// maxAccounts bounds the containers that are kept track of.
	maxAccounts = 8192
	// unclaimedTime is after how long an account goes that nobody asked for: its
	// cgroup was gone before it was seen, or is no container's. Sweeps, which
	// ask, are a minute apart at most.
	unclaimedTime = 5 * time.Minute
)

// Config is what a Reader works with.
type Config struct {
	// BoundsNanos are the greatest lengths, in ns, that the cells count which
	// durations are sorted into, ascending, at most MaxBounds. What is longer
	// than the last counts in the cell after it.
	BoundsNanos []uint64
}

// Reader learns how long containers were held. It starts no goroutine and is
// for one.
type Reader struct {
	bounds   []uint64
	throttle *throttle
	stall    *stall
	accounts map[uint64]*account
	place    Place
	// lostHere are the losses that the programs do not know of, by kind.
	lostHere [NumKinds]uint64
	now      time.Time // of the last drain
	// onInterval sees every interval, in tests.
	onInterval func(*throttleInterval)
}

// Open loads and attaches what this kernel and the process's rights allow:
// Status says what that is. An error is the caller's fault.
func Open(cfg Config) (*Reader, error) {
	if len(cfg.BoundsNanos) > MaxBounds || !slices.IsSorted(cfg.BoundsNanos) {
		return nil, fmt.Errorf("%d bounds of cells: at most %d, ascending", len(cfg.BoundsNanos), MaxBounds)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		cpus = 1 // then the ring is the smallest
	}
	return &Reader{
		bounds:   slices.Clone(cfg.BoundsNanos),
		throttle: openThrottle(ringBytes(cpus)),
		stall:    openStall(cfg.BoundsNanos),
		accounts: map[uint64]*account{}, now: time.Now(),
	}, nil
}

// Status says which programs are there, by the names throttle and stall.
func (r *Reader) Status() []bpf.Status { return []bpf.Status{r.throttle.status, r.stall.status} }

// SetPlace says where containers are. Until then nothing is seen of them.
func (r *Reader) SetPlace(place Place) error {
	if place == r.place {
		return nil
	}
	r.throttle.begin()
	if err := errors.Join(setPlace(r.throttle.collection, place), setPlace(r.stall.collection, place)); err != nil {
		return err
	}
	r.place = place
	return nil
}

// Drain takes over what came since the last call. It does not wait. After an
// error the rest is there.
func (r *Reader) Drain() error {
	r.now = time.Now()
	r.throttle.drain(r.interval)
	errThrottle := r.throttle.drainExcesses(r.excess)
	errStall := r.stall.drain(r.stalled)
	now := r.throttle.now()
	for id, a := range r.accounts {
		a.settle(now)
		if r.now.Sub(a.used) > unclaimedTime {
			r.giveUp(id, a)
		}
	}
	return errors.Join(errThrottle, errStall)
}

// giveUp forgets an account that nobody asked for.
func (r *Reader) giveUp(id uint64, a *account) {
	if !a.finished {
		a.merger.Finish(a.tellThrottle)
	}
	for kind := range a.counts {
		r.lostHere[kind] += a.counts[kind].total()
	}
	r.drop(id)
	delete(r.accounts, id)
}

// account returns the account of a container, or nil when it is gone or there
// is no room for one.
func (r *Reader) account(id uint64, kind Kind) *account {
	a := r.accounts[id]
	if a == nil {
		if len(r.accounts) >= maxAccounts {
			r.lostHere[kind]++
			return nil
		}
		a = newAccount(r)
		a.used = r.now
		r.accounts[id] = a
	}
	if a.finished {
		return nil // what the kernel cleans up after the last task
	}
	return a
}

func (r *Reader) interval(in *throttleInterval) {
	if r.onInterval != nil {
		r.onInterval(in)
	}
	a := r.account(in.Cgroup, Throttle)
	if a == nil {
		return
	}
	a.rawNanos += in.LengthNs
	a.merger.Add(stretch.Interval{Start: in.EndNs - in.LengthNs, End: in.EndNs}, a.tellThrottle)
	if in.Quiet != 0 {
		a.merger.Quiet(in.EndNs)
	}
}

// excess counts what the ring had no room for as so many durations of their
// mean length: when each was is not known, so they cannot be merged.
func (r *Reader) excess(cgroup uint64, sum *throttleExcess) {
	a := r.account(cgroup, Throttle)
	if a == nil {
		return
	}
	count, nanos := sum.Count-a.excess.Count, sum.LengthNs-a.excess.LengthNs
	if count == 0 {
		return
	}
	a.excess = *sum
	a.rawNanos += nanos
	a.add(Throttle, r.cell(nanos/count), count, nanos)
}

func (r *Reader) stalled(key stallStallKey, sum *stallStallSum) {
	kind := StallHigh
	if key.Cause == causeLimit {
		kind = StallLimit
	}
	if a := r.account(key.Container, kind); a != nil {
		a.addStalls(kind, sum)
	}
}

// cell returns the cell that counts durations of this length.
func (r *Reader) cell(nanos uint64) int {
	i, _ := slices.BinarySearch(r.bounds, nanos)
	return i
}

// Take calls fold with what is new of a container, for each kind that there is
// something of: how many durations there were in each cell, and the sum of
// them in ns. The slice has a cell more than there are bounds and is valid
// during the call. ended says that the cgroup is gone: then all is told that
// there is.
func (r *Reader) Take(container uint64, ended bool, fold func(kind Kind, cells []uint64, nanos uint64)) {
	if ended {
		r.collect(container)
	}
	a := r.accounts[container]
	if a == nil || a.finished {
		return
	}
	a.used = r.now
	if ended {
		a.merger.Finish(a.tellThrottle)
	}
	if a.fresh {
		a.fresh = false
		for kind := range a.counts {
			a.counts[kind].take(Kind(kind), len(r.bounds)+1, fold)
		}
	}
	if ended {
		r.drop(container)
	}
}

// collect takes over what came of one container since the last Drain.
func (r *Reader) collect(container uint64) {
	r.throttle.drain(r.interval)
	r.throttle.look(container, r.excess)
	r.stall.look(container, r.stalled)
}

// drop frees what is kept of a container, but for the mark that it is gone.
func (r *Reader) drop(container uint64) {
	r.throttle.forget(container)
	r.stall.forget(container)
	*r.accounts[container] = account{finished: true, used: r.now}
}

// Lost returns how many events did not make it into a histogram as they were,
// ever.
func (r *Reader) Lost() (throttle, stall uint64) {
	return r.throttle.lost() + r.lostHere[Throttle],
		r.stall.lost() + r.lostHere[StallHigh] + r.lostHere[StallLimit]
}

// Close detaches the programs and frees their maps.
func (r *Reader) Close() error {
	if err := errors.Join(r.throttle.close(), r.stall.close()); err != nil {
		return fmt.Errorf("detach the programs: %w", err)
	}
	return nil
}
