// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

const (
	defaultSuite     = "trixie"
	defaultMemoryMiB = 1024
	defaultCPUs      = 2
	maxClockShift    = 10 // QEMU's
	// defaultBootTimeout leaves room for a busy host: three seconds are usual.
	defaultBootTimeout = 3 * time.Minute
)

// Config is one machine. The zero value is usable: Debian trixie's kernel, the
// host's architecture, two processors, 1 GiB.
type Config struct {
	// Arch is "arm64" or "amd64", as in GOARCH. Empty: the host's.
	Arch string
	// Suite is a Debian release: "bookworm" (Linux 6.1), "trixie" (6.12), "sid".
	Suite string
	// MemoryMiB is the machine's memory. All of Files and Dirs is in it.
	MemoryMiB int
	CPUs      int
	// InstructionClock drives the guest's clock by the instructions it executes,
	// 1 ns each, and skips idle time: CPU times then repeat however busy the
	// host is, and are to be compared with each other only. Of several
	// processors one runs at a time while the clock of all goes on: they see a
	// machine that is slower by their number, in which times still repeat.
	// CPUs is 1 if it is 0.
	InstructionClock bool
	// ClockShift makes an instruction take 2^ClockShift ns instead, at most 10:
	// the guest's time then passes faster, with less done in it.
	ClockShift int
	// SwapMiB adds a disk of that size and swaps on it.
	SwapMiB int
	// Files are put into the machine before it starts, with their permissions:
	// path in the guest -> path on the host.
	Files map[string]string
	// Dirs are the same for whole directories.
	Dirs map[string]string
	// Modules are further kernel modules to load, by name ("overlay").
	Modules []string
	// Append are further words of the kernel's command line ("psi=1").
	Append []string
	// Forwards make ports of the guest reachable on the host's 127.0.0.1.
	Forwards []Forward
	// BootTimeout bounds the time to the first command; Timeout the whole life
	// of the machine, 0 being no bound.
	BootTimeout, Timeout time.Duration
	// Console gets all that the guest prints on its console, if not nil.
	Console io.Writer
	// Progress gets a line for each step that takes long (downloads, builds), if
	// not nil.
	Progress io.Writer
	// CacheDir overrides DefaultCacheDir.
	CacheDir string
	// Refresh asks the mirror for a newer kernel although one is in the cache.
	Refresh bool
}

// Forward makes GuestPort (TCP) reachable at 127.0.0.1:HostPort.
type Forward struct {
	// HostPort 0 takes any free port: Machine.HostPort tells which.
	HostPort  int
	GuestPort int
	// GuestAddress is an address of the guest other than its card's own.
	GuestAddress string
}

// complete checks c and fills in what was left out.
func (c Config) complete() (Config, error) {
	if c.Arch == "" {
		c.Arch = runtime.GOARCH
	}
	if _, err := emulatorOf(c.Arch); err != nil {
		return c, err
	}
	if c.Suite == "" {
		c.Suite = defaultSuite
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = defaultMemoryMiB
	}
	if c.ClockShift < 0 || c.ClockShift > maxClockShift || c.ClockShift > 0 && !c.InstructionClock {
		return c, fmt.Errorf("a clock shift of %d: it is 0 to %d, and 0 without the instruction clock", c.ClockShift, maxClockShift)
	}
	if c.InstructionClock && c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.CPUs == 0 {
		c.CPUs = defaultCPUs
	}
	if c.BootTimeout == 0 {
		c.BootTimeout = defaultBootTimeout
	}
	if c.MemoryMiB < 0 || c.CPUs < 0 || c.SwapMiB < 0 {
		return c, fmt.Errorf("memory (%d MiB), processors (%d) and swap (%d MiB) cannot be negative", c.MemoryMiB, c.CPUs, c.SwapMiB)
	}
	for _, f := range c.Forwards {
		if f.GuestPort <= 0 || f.GuestPort > 65535 || f.HostPort < 0 || f.HostPort > 65535 {
			return c, fmt.Errorf("cannot forward host port %d to guest port %d: ports are 1 to 65535", f.HostPort, f.GuestPort)
		}
	}
	if c.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return c, err
		}
		c.CacheDir = dir
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c, nil
}

// progress writes one line. A progress writer that fails is nobody's concern.
func (c Config) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Progress, format+"\n", args...)
}
