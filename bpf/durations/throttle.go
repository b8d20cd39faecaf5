// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/slicewatch/slicewatch/bpf"
)

// ThrottleName is the program that tells of throttling, as a source is called.
const ThrottleName = "throttle"

// WithoutThrottle says what is missing without it.
const WithoutThrottle = "there are no histograms of throttle durations; how often and how long in all is known"

const throttleFunction = "unthrottle_cfs_rq"

func throttlePairs() []pair {
	return []pair{
		{"fentry+fexit/", throttleProgFentryUnthrottle, throttleProgFexitUnthrottle, attachTrampoline},
		{"kprobe+kretprobe/", throttleProgKprobeUnthrottle, throttleProgKretprobeUnthrottle, attachProbe},
	}
}

// throttle reads what the program of that name sends.
type throttle struct {
	collection *ebpf.Collection
	links      []link.Link
	ring       *ringbuf.Reader
	record     ringbuf.Record
	status     bpf.Status

	excessSeen uint64 // excess_count when the map was last read
	excesses   batch[uint64, throttleExcess]

	// unmatchedBefore are the returns without an entry before any container was
	// looked for, which is once begun: the return is attached first.
	unmatchedBefore uint64
	begun           bool

	// clock is the end of the newest interval, in the kernel's clock, and read
	// when that was.
	clock  uint64
	readAt time.Time
}

func openThrottle(ringBytes int) *throttle {
	t := &throttle{status: bpf.Status{Program: ThrottleName, Without: WithoutThrottle}}
	if _, err := bpf.KernelTypes(ThrottleName); err != nil {
		t.status.Err = err // loading would say something vaguer
		return t
	}
	spec, err := loadThrottle()
	if err != nil {
		t.status.Err = bpf.Explain(ThrottleName, fmt.Errorf("read the compiled program: %w", err))
		return t
	}
	spec.Maps[throttleMapIntervals].MaxEntries = uint32(ringBytes)
	var errs []error
	for _, p := range throttlePairs() {
		err := t.open(spec, p)
		if err == nil {
			return t
		}
		errs = append(errs, err)
	}
	// The probe needs the least: what it lacks is what has to be mended, unless
	// nothing could be loaded at all.
	t.status.Err = bpf.Explain(ThrottleName, errs[len(errs)-1])
	return t
}

func (t *throttle) open(spec *ebpf.CollectionSpec, p pair) error {
	c, err := load(spec, p.enter, p.leave)
	if err != nil {
		return err
	}
	ring, err := ringbuf.NewReader(c.Maps[throttleMapIntervals])
	if err != nil {
		c.Close()
		return fmt.Errorf("map the ring buffer: %w", err)
	}
	ring.SetDeadline(time.Unix(1, 0)) // never wait
	links, err := p.attach(c, p, throttleFunction)
	if err != nil {
		c.Close()
		return errors.Join(fmt.Errorf("attach to %s: %w", throttleFunction, err), ring.Close())
	}
	t.collection, t.links, t.ring = c, links, ring
	t.status.How = p.way + throttleFunction
	return nil
}

// ringBytes returns the size of the ring: what each CPU's holds of some two
// seconds need, at 400 containers with the usual period.
func ringBytes(cpus int) int {
	const perCPU, least, most = 256 << 10, 256 << 10, 4 << 20
	size := min(max(1<<bits.Len(uint(perCPU*cpus-1)), least), most)
	return max(size, os.Getpagesize())
}

// drain passes on what came since the last call.
func (t *throttle) drain(each func(*throttleInterval)) {
	if t.ring == nil || t.ring.AvailableBytes() == 0 {
		return
	}
	const size = int(unsafe.Sizeof(throttleInterval{}))
	for t.ring.ReadInto(&t.record) == nil {
		if len(t.record.RawSample) < size {
			continue // never: the program sends one type
		}
		in := (*throttleInterval)(unsafe.Pointer(&t.record.RawSample[0]))
		if in.EndNs > t.clock {
			t.clock, t.readAt = in.EndNs, time.Now()
		}
		each(in)
	}
}

// now is the kernel's clock, rather too early than too late.
func (t *throttle) now() uint64 {
	if t.clock == 0 {
		return 0
	}
	return t.clock + uint64(time.Since(t.readAt))
}

// drainExcesses passes on what the ring had no room for, ever, if there is news.
func (t *throttle) drainExcesses(each func(cgroup uint64, sum *throttleExcess)) error {
	count := number(t.collection, throttleVarExcessCount)
	if count == t.excessSeen {
		return nil
	}
	t.excessSeen = count
	return t.excesses.each(t.collection.Maps[throttleMapExcesses], each)
}

// look is drainExcesses for one cgroup.
func (t *throttle) look(cgroup uint64, each func(cgroup uint64, sum *throttleExcess)) {
	var sum throttleExcess
	if number(t.collection, throttleVarExcessCount) > 0 && t.collection.Maps[throttleMapExcesses].Lookup(cgroup, &sum) == nil {
		each(cgroup, &sum)
	}
}

// forget drops what is kept of a cgroup that is gone.
func (t *throttle) forget(cgroup uint64) {
	if number(t.collection, throttleVarExcessCount) > 0 {
		_ = t.collection.Maps[throttleMapExcesses].Delete(cgroup) // usually not in it
	}
}

// begin makes what is lost from now on count. Only the first call does: what
// was lost stays so when kubepods goes and comes.
func (t *throttle) begin() {
	if t.begun {
		return
	}
	t.unmatchedBefore, t.begun = number(t.collection, throttleVarUnmatched), true
}

// lost never falls: until begin no return is lost, as nobody looks.
func (t *throttle) lost() uint64 {
	lost := number(t.collection, throttleVarExcessCount) + number(t.collection, throttleVarUnread)
	if t.begun {
		lost += number(t.collection, throttleVarUnmatched) - t.unmatchedBefore
	}
	return lost
}

func (t *throttle) close() error {
	err := closeAll(t.links)
	if t.ring != nil {
		err = errors.Join(err, t.ring.Close())
	}
	if t.collection != nil {
		t.collection.Close()
	}
	return err
}
