// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/slicewatch/slicewatch/bpf"
)

// PeriodsName is the program that tells of each period of a CPU quota, as a
// source is called.
const PeriodsName = "periods"

// WithoutPeriods says what is done without it.
const WithoutPeriods = "CPU limits are hinted at from polls of cpu.stat, which are a little less sure"

const periodFunction = "sched_cfs_period_timer"

// Period is one period of a cgroup's CPU quota. Those in which nothing ran, but
// for the first of several in a row, are not told.
type Period struct {
	Cgroup uint64
	// End is when it ended, in the kernel's monotonic clock.
	End time.Duration
	// Length, Quota and Burst are what cpu.max and cpu.max.burst said, Left what
	// of it was not handed out to CPUs.
	Length, Quota, Burst, Left time.Duration
	// Stall is throttled_usec at its end; what ends with the period is not in it.
	Stall time.Duration
	// Held says that the cgroup was held when it ended: the kernel counts the
	// period as throttled. CPUs is on how many CPUs something waited then,
	// Waiting how many tasks did.
	Held          bool
	CPUs, Waiting int
	// Later is by how much later than on the first of these CPUs it was held on
	// the others, added.
	Later time.Duration
	// Count is nr_periods of cpu.stat without this period, modulo 2^32: a timer
	// that is late makes one of several.
	Count uint32
}

// Periods tells of the periods of the cgroups that it observes. It starts no
// goroutine and is for one.
type Periods struct {
	collection *ebpf.Collection
	links      []link.Link
	ring       *ringbuf.Reader
	record     ringbuf.Record
	status     bpf.Status
}

// OpenPeriods loads and attaches the program if this kernel and the process's
// rights allow it: Status says so.
func OpenPeriods() *Periods { return openPeriods(1 << 16) }

func openPeriods(ringBytes int) *Periods {
	p := &Periods{status: bpf.Status{Program: PeriodsName, Without: WithoutPeriods}}
	types, err := bpf.KernelTypes(PeriodsName) // loading would say something vaguer
	if err == nil {
		err = p.openAny(types, ringBytes)
	}
	p.status.Err = bpf.Explain(PeriodsName, err)
	return p
}

// openAny tries the ways to attach, on a kernel of these types.
func (p *Periods) openAny(types *btf.Spec, ringBytes int) error {
	if err := waitingQueued(types); err != nil {
		return err
	}
	spec, err := loadPeriods()
	if err != nil {
		return fmt.Errorf("read the compiled program: %w", err)
	}
	spec.Maps[periodsMapPeriods].MaxEntries = uint32(max(ringBytes, os.Getpagesize()))
	err = p.open(spec, periodsProgFentryPeriod, "fentry/", func(program *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: program})
	})
	if err != nil {
		// The probe needs less of the kernel: what it lacks is what has to be mended.
		err = p.open(spec, periodsProgKprobePeriod, "kprobe/", func(program *ebpf.Program) (link.Link, error) {
			return link.Kprobe(periodFunction, program, nil)
		})
	}
	return err
}

// waitingQueued says whether tasks of a held group stay queued, so that it can be
// told how many wait. Since Linux 6.18 they are taken off (throttle_cfs_rq_work in
// kernel/sched/fair.c) and kept on a list of the queue, which is no place to count
// from here: Waiting would be about 0, and hints at limits too small.
func waitingQueued(types *btf.Spec) error {
	const queue, list = "cfs_rq", "throttled_limbo_list"
	if !bpf.HasField(types, queue, list) {
		return nil // what else is missing, loading says
	}
	return &bpf.Unavailable{
		Program: PeriodsName, Reason: bpf.TooNew,
		Err: fmt.Errorf("it keeps the tasks that wait for quota in %s.%s, as Linux 6.18 and newer do, where they cannot be counted", queue, list),
	}
}

func (p *Periods) open(spec *ebpf.CollectionSpec, program, way string, attach func(*ebpf.Program) (link.Link, error)) error {
	c, err := load(spec, program)
	if err != nil {
		return err
	}
	ring, err := ringbuf.NewReader(c.Maps[periodsMapPeriods])
	if err != nil {
		c.Close()
		return fmt.Errorf("map the ring buffer: %w", err)
	}
	ring.SetDeadline(time.Unix(1, 0)) // never wait
	l, err := attach(c.Programs[program])
	if err != nil {
		c.Close()
		return errors.Join(fmt.Errorf("attach to %s: %w", periodFunction, err), ring.Close())
	}
	p.collection, p.links, p.ring = c, []link.Link{l}, ring
	p.status.How = way + periodFunction
	return nil
}

// Status says whether the program is there.
func (p *Periods) Status() bpf.Status { return p.status }

// Observe begins to tell of a cgroup. It fails without the program, and when
// there are too many already.
func (p *Periods) Observe(cgroup uint64) error {
	if p.collection == nil {
		return p.status.Err
	}
	if err := p.collection.Maps[periodsMapObserved].Put(cgroup, uint32(1)); err != nil {
		return fmt.Errorf("observe the periods of cgroup %d: %w", cgroup, err)
	}
	return nil
}

// Ignore ends what Observe began.
func (p *Periods) Ignore(cgroup uint64) {
	if p.collection != nil {
		_ = p.collection.Maps[periodsMapObserved].Delete(cgroup) // it may not be in it
	}
}

// Drain passes on what was told since the last call. It does not wait.
func (p *Periods) Drain(each func(Period)) {
	if p.ring == nil || p.ring.AvailableBytes() == 0 {
		return
	}
	const size = int(unsafe.Sizeof(periodsPeriod{}))
	for p.ring.ReadInto(&p.record) == nil {
		if len(p.record.RawSample) < size {
			continue // never: the program sends one type
		}
		in := (*periodsPeriod)(unsafe.Pointer(&p.record.RawSample[0]))
		each(Period{
			Cgroup: in.Cgroup, End: time.Duration(in.EndNs), Length: time.Duration(in.LengthNs), Quota: time.Duration(in.QuotaNs),
			Burst: time.Duration(in.BurstNs), Left: time.Duration(in.LeftNs), Stall: time.Duration(in.StallNs),
			Held: in.Held != 0, CPUs: int(in.Cpus), Waiting: int(in.Waiting), Later: time.Duration(in.LaterNs), Count: in.Count,
		})
	}
}

// Lost returns how many periods the ring had no room for, ever. Any goroutine may
// ask, as for Status.
func (p *Periods) Lost() uint64 { return number(p.collection, periodsVarLost) }

// Close detaches the program and frees its maps.
func (p *Periods) Close() error {
	err := closeAll(p.links)
	if p.ring != nil {
		err = errors.Join(err, p.ring.Close())
	}
	if p.collection != nil {
		p.collection.Close()
	}
	if err != nil {
		return fmt.Errorf("detach the program %s: %w", PeriodsName, err)
	}
	return nil
}
