// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
)

// Reader takes the events that the programs tell. Drain, Tallies and
// SetKubepods are for one goroutine, Run for another.
type Reader struct {
	maps           map[string]*ebpf.Map
	lifecycle, oom attached
	status         []bpf.Status // lifecycle, OOM
	ring           *ringbuf.Reader
	tallies        *ebpf.Memory
	globals        *ebpf.Memory
	unreadAt       int64
	decoder        decoder
	record         ringbuf.Record
	kubepods       uint64
	undecoded      uint64

	wake    chan struct{}
	drained chan struct{} // tells Run that the ring was emptied
}

// Status says which programs are attached, by source.
func (r *Reader) Status() []bpf.Status { return r.status }

// SetKubepods says which cgroup is the one above all pods; 0: there is none.
// Only cgroups below it are told of as they come and go. Before the first call
// none are.
func (r *Reader) SetKubepods(id uint64) error {
	if id == r.kubepods {
		return nil
	}
	if err := r.maps[programMapKubepods].Put(uint32(0), id); err != nil {
		return fmt.Errorf("tell the eBPF programs the cgroup of all pods: %w", err)
	}
	r.kubepods = id
	return nil
}

// longAgo makes the ring's reader not wait.
var longAgo = time.Unix(1, 0)

// Drain gives all events that are there to the handler, without waiting for
// more, and returns how many they were.
func (r *Reader) Drain(to Handler) int {
	r.decoder.bootedAt = bootedAt()
	r.ring.SetDeadline(longAgo)
	n := 0
	// The programs may write on meanwhile: a ring full of the smallest events
	// is enough for once.
	for most := r.ring.BufferSize() / binary.Size(programBirth{}); n <= most; n++ {
		// The only other error is that the reader was closed.
		if err := r.ring.ReadInto(&r.record); err != nil {
			break
		}
		if err := r.decoder.decode(r.record.RawSample, to); err != nil {
			r.undecoded++
		}
	}
	select {
	case r.drained <- struct{}{}:
	default:
	}
	return n
}

// bootedAt returns the wall clock's time of CLOCK_BOOTTIME 0.
func bootedAt() time.Time {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{} // does not happen: no such clock before Linux 2.6.39
	}
	return time.Now().Add(-time.Duration(since.Nano()))
}

// Tallies returns what the sources count of themselves.
func (r *Reader) Tallies() (lifecycle, oom Tally) {
	var both [2]programTally
	if _, err := binary.Decode(r.tallyBytes(), binary.NativeEndian, &both); err != nil {
		return lifecycle, oom
	}
	lifecycle, oom = tallyOf(both[0]), tallyOf(both[1])
	lifecycle.Failed += r.undecoded + r.unread()
	return lifecycle, oom
}

// unread returns how many reads of kernel memory gave nothing, of both sources.
func (r *Reader) unread() uint64 {
	var n [8]byte
	if _, err := r.globals.ReadAt(n[:], r.unreadAt); err != nil {
		return 0 // never: it is within the map
	}
	return binary.NativeEndian.Uint64(n[:])
}

func tallyOf(t programTally) Tally {
	return Tally{Lost: t.Lost, Failed: t.Failed, Marked: t.Marked}
}

func (r *Reader) tallyBytes() []byte {
	buf := make([]byte, 2*binary.Size(programTally{}))
	if _, err := r.tallies.ReadAt(buf, 0); err != nil {
		return nil
	}
	return buf
}

// Wake returns a channel of capacity 1 that is signalled, while Run runs, when
// there are events: a Drain is due then.
func (r *Reader) Wake() <-chan struct{} { return r.wake }

// Run waits for events until ctx ends, which returns nil. It starts one
// goroutine, which ends with it.
func (r *Reader) Run(ctx context.Context) error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("wait for eBPF events: make an eventfd: %w", err)
	}
	defer unix.Close(stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		// Cannot fail: the count of an eventfd takes 2^64-2 of these.
		_, _ = unix.Write(stop, binary.NativeEndian.AppendUint64(nil, 1))
	}()
	defer func() { <-ended }()
	fds := []unix.PollFd{
		{Fd: int32(r.maps[programMapRing].FD()), Events: unix.POLLIN},
		{Fd: int32(stop), Events: unix.POLLIN},
	}
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			<-ctx.Done()
			return fmt.Errorf("wait for eBPF events: %w", os.NewSyscallError("poll", err))
		}
		if fds[0].Revents == 0 {
			continue
		}
		select {
		case r.wake <- struct{}{}:
		default:
		}
		// The ring stays readable until it is drained.
		select {
		case <-r.drained:
		case <-ctx.Done():
		}
	}
	return nil
}

// Close detaches the programs and gives everything back. Call it after Run has
// ended.
func (r *Reader) Close() error {
	errs := []error{r.lifecycle.close(), r.oom.close()}
	if r.ring != nil {
		errs = append(errs, r.ring.Close())
	}
	return errors.Join(append(errs, closeMaps(r.maps))...)
}
