// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
)

// withCapabilities calls fn on a thread that has these only, and ends it.
func withCapabilities(t *testing.T, capabilities []uint, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		for _, c := range capabilities {
			data[c/32].Effective |= 1 << (c % 32)
			data[c/32].Permitted |= 1 << (c % 32)
		}
		err := unix.Capset(&header, &data[0])
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// tryWith opens a reader with these capabilities only.
func tryWith(t *testing.T, place Place, capabilities ...uint) *Reader {
	t.Helper()
	var r *Reader
	var err error
	withCapabilities(t, capabilities, func() {
		if r, err = Open(Config{BoundsNanos: testBounds()}); err == nil {
			err = r.SetPlace(place)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	for _, s := range r.Status() {
		t.Logf("%s: %q, error %v", s.Program, s.How, s.Err)
	}
	return r
}

func reasonOf(err error) bpf.Reason {
	if u, ok := errors.AsType[*bpf.Unavailable](err); ok {
		return u.Reason
	}
	return ""
}

func TestWithoutRights(t *testing.T) {
	tr := newTree(t)
	for _, s := range tryWith(t, tr.place).Status() {
		if s.Up() || reasonOf(s.Err) != bpf.NoPermission {
			t.Errorf("%s: %q, %v", s.Program, s.How, s.Err)
		}
	}
}

// paranoia returns kernel.perf_event_paranoid.
func paranoia(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		t.Fatal(err)
	}
	level, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return level
}

// BPF and PERFMON are all that is needed where the kernel has trampolines. Where
// it has not, perf_event_paranoid decides over the probes; what is left then is
// the limits, of containers without memory.high.
func TestWithBPFAndPerfmon(t *testing.T) {
	tr := newTree(t)
	r := tryWith(t, tr.place, unix.CAP_BPF, unix.CAP_PERFMON)
	throttle, stall := r.Status()[0], r.Status()[1]
	if throttle.Err == nil && stall.Err == nil {
		return
	}
	if level := paranoia(t); level < 3 {
		t.Errorf("perf_event_paranoid is %d: nothing keeps the probes away", level)
	}
	if throttle.Up() || reasonOf(throttle.Err) != bpf.Paranoid || !stall.Up() || reasonOf(stall.Err) != bpf.Paranoid {
		t.Errorf("throttle %q, %v; stall %q, %v", throttle.How, throttle.Err, stall.How, stall.Err)
	}
}

// Without the hook of memory.high its reclaim must not be taken for one at the
// limit.
func TestLimitsWithoutHigh(t *testing.T) {
	tr := newTree(t)
	r := open(t, tr.place)
	if err := r.stall.close(); err != nil {
		t.Fatal(err)
	}
	r.stall = &stall{}
	spec, err := stallSpec(testBounds())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.stall.openWithoutHigh(spec); err != nil {
		t.Fatal(err)
	}
	r.place = Place{}
	if err := r.SetPlace(tr.place); err != nil {
		t.Fatal(err)
	}
	high, limit := tr.pod+"/high", tr.pod+"/limit"
	for dir, file := range map[string]string{high: "memory.high", limit: "memory.max"} {
		tr.mkdir(dir)
		tr.write(dir, file, "16M")
		tr.start(dir, "grow 24")
	}
	tr.until(high, "memory.events", "high ", 3)
	tr.until(limit, "memory.events", "max ", 3)
	for range 100 {
		drain(t, r)
		if r.accounts[tr.id(limit)] != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := takeAll(r, tr.id(limit), false); got[StallLimit].Count == 0 {
		t.Errorf("at the limit: %+v", got)
	}
	if got := takeAll(r, tr.id(high), false); got != [NumKinds]taken{} {
		t.Errorf("beyond memory.high: %+v", got)
	}
}
