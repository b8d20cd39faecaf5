// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

const (
	// haltTime is how long an orderly power-off may take before QEMU is killed.
	haltTime = 15 * time.Second
	// portAttempts: between choosing a free port and QEMU's taking it, somebody
	// else may.
	portAttempts = 5
)

var (
	// ErrKernelFailed is the cause of what fails after an oops or a panic.
	ErrKernelFailed = errors.New("the machine's kernel failed")
	// ErrEnded is the cause of what fails because the machine has ended.
	ErrEnded = errors.New("the machine has ended")
	errPort  = errors.New("a host port was taken meanwhile")
)

// Machine is a running machine. Its methods may be called from any goroutine.
type Machine struct {
	cfg     Config
	kernel  Kernel
	dir     string
	console *console
	qemu    *qemu
	ports   []int
	boot    time.Duration
	stop    context.CancelFunc
	watched chan struct{}

	closing  sync.Once
	closeErr error
}

// Start boots a machine and returns when it takes commands. It fetches the
// kernel and installs the emulator where they are missing. The machine lives
// until Close, the end of ctx or Config.Timeout, whichever is first. Errors
// have the end of the console in them.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	e, err := emulatorOf(cfg.Arch)
	if err != nil {
		return nil, err
	}
	if err := requireTool(ctx, cfg, e.program, e.debianPackage); err != nil {
		return nil, err
	}
	kernel, err := FetchKernel(ctx, cfg)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slicewatch-vm-")
	if err != nil {
		return nil, fmt.Errorf("make the machine's folder: %w", err)
	}
	m, err := startIn(ctx, e, cfg, kernel, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

func startIn(ctx context.Context, e emulator, cfg Config, kernel Kernel, dir string) (*Machine, error) {
	initramfs, err := writeInitramfs(ctx, cfg, kernel, dir)
	if err != nil {
		return nil, err
	}
	swapFile, err := makeSwapFile(cfg, dir)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		ports, err := choosePorts(cfg.Forwards)
		if err != nil {
			return nil, err
		}
		args := qemuArgs(e, cfg, kernel, initramfs, swapFile, ports)
		m, err := power(ctx, e.program, cfg, args)
		if errors.Is(err, errPort) && attempt < portAttempts {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("boot the %s kernel %s: %w", cfg.Arch, kernel.Release, err)
		}
		m.kernel, m.dir, m.ports = kernel, dir, ports
		// Unpacked into the guest's memory by now.
		_ = os.Remove(initramfs)
		return m, nil
	}
}

// power starts QEMU and waits for the guest to be reachable.
func power(ctx context.Context, program string, cfg Config, args []string) (*Machine, error) {
	begin := time.Now()
	m := &Machine{cfg: cfg, console: newConsole(cfg.Console), watched: make(chan struct{})}
	q, err := startQEMU(program, args, m.console)
	if err != nil {
		return nil, err
	}
	m.qemu = q
	var life context.Context
	if cfg.Timeout > 0 {
		life, m.stop = context.WithTimeout(ctx, cfg.Timeout)
	} else {
		life, m.stop = context.WithCancel(ctx)
	}
	go m.watch(life)
	timer := time.NewTimer(cfg.BootTimeout)
	defer timer.Stop()
	select {
	case <-m.console.ready:
		m.boot = time.Since(begin)
		return m, nil
	case <-timer.C:
		err = fmt.Errorf("not ready within %v; %s", cfg.BootTimeout, m.console.Tail())
	case <-q.ended:
		err = m.endError()
		if strings.Contains(m.console.Text(), "Could not set up host forwarding rule") && !fixedPortTaken(cfg.Forwards) {
			err = errPort
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.kill()
	return nil, err
}

// watch ends QEMU with ctx. It is the goroutine that outlives Start; Close, and
// the machine's own end, end it.
func (m *Machine) watch(ctx context.Context) {
	defer close(m.watched)
	select {
	case <-ctx.Done():
		_ = m.qemu.process.Kill()
		<-m.qemu.ended
	case <-m.qemu.ended:
	}
}

// kill ends QEMU at once and waits for it and for watch.
func (m *Machine) kill() {
	m.stop()
	<-m.watched
}

// choosePorts finds a host port for the way in and for every forward.
func choosePorts(forwards []Forward) ([]int, error) {
	ports := make([]int, 0, 1+len(forwards))
	for i := range 1 + len(forwards) {
		if i > 0 && forwards[i-1].HostPort != 0 {
			ports = append(ports, forwards[i-1].HostPort)
			continue
		}
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port on the host: %w", err)
		}
		// Closed only when all are chosen, so that they differ.
		defer listener.Close() //nolint:gocritic // meant: see above
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// fixedPortTaken tells whether it was a port that the caller asked for which
// could not be had: then choosing others is of no use.
func fixedPortTaken(forwards []Forward) bool {
	for _, f := range forwards {
		if f.HostPort == 0 {
			continue
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", f.HostPort))
		if err != nil {
			return true
		}
		listener.Close()
	}
	return false
}

// endError says why a machine that was not told to has ended.
func (m *Machine) endError() error {
	if failure := m.console.Failure(); failure != "" {
		return fmt.Errorf("%w: %s; %s", ErrKernelFailed, failure, m.console.Tail())
	}
	return fmt.Errorf("%w (qemu: %w); %s", ErrEnded, m.qemu.err, m.console.Tail())
}

// Kernel is the kernel that runs.
func (m *Machine) Kernel() Kernel { return m.kernel }

// BootTime is the time from power-on to the first possible command.
func (m *Machine) BootTime() time.Duration { return m.boot }

// Console is the end (1 MiB at least) of what the guest printed on its console.
func (m *Machine) Console() string { return m.console.Text() }

// HostPort is the port on the host's 127.0.0.1 that is forwarded to guestPort,
// or 0 if none is.
func (m *Machine) HostPort(guestPort int) int {
	for i, f := range m.cfg.Forwards {
		if f.GuestPort == guestPort {
			return m.ports[1+i]
		}
	}
	return 0
}

// Done is closed when the machine has ended, for whatever reason.
func (m *Machine) Done() <-chan struct{} { return m.qemu.ended }

// Err is nil while the machine is well. After an oops or a panic it wraps
// ErrKernelFailed, after any other end of the machine ErrEnded.
func (m *Machine) Err() error {
	if failure := m.console.Failure(); failure != "" {
		return fmt.Errorf("%w: %s; %s", ErrKernelFailed, failure, m.console.Tail())
	}
	select {
	case <-m.qemu.ended:
		return m.endError()
	default:
		return nil
	}
}

// Close powers the machine off, and kills QEMU if that takes too long. Its
// error is of an oops or a panic that the kernel had, if any.
func (m *Machine) Close() error {
	m.closing.Do(func() {
		m.halt()
		m.kill()
		if failure := m.console.Failure(); failure != "" {
			m.closeErr = fmt.Errorf("%w: %s; %s", ErrKernelFailed, failure, m.console.Tail())
		}
		m.closeErr = errors.Join(m.closeErr, os.RemoveAll(m.dir))
	})
	return m.closeErr
}

// halt asks the guest to power off and waits for it. A guest that does not
// answer is killed by the caller, so failing here is no error.
func (m *Machine) halt() {
	ctx, cancel := context.WithTimeout(context.Background(), haltTime)
	defer cancel()
	conn, err := m.open(ctx, wire.Request{Op: wire.OpHalt})
	if err != nil {
		return
	}
	defer conn.Close()
	select {
	case <-m.qemu.ended:
	case <-ctx.Done():
	}
}
