// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// emulator is what differs between the architectures.
type emulator struct {
	program, debianPackage string
	// machine has the options of the board and the processor.
	machine []string
	console string
}

// emulatorOf knows the architectures that are supported.
//
// pauth-impdef: pointer authentication by QEMU's own hash instead of the
// architected one, which alone takes two thirds of an emulated boot.
//
// cx16=off: with QEMU 7.2 on a busy host 7 of 20 boots of 6.12 ended in an oops
// (3 of 14 with thread=single), mostly with nonsense in the flags, often right
// after a CMPXCHG16B of the kernel's allocator. Without that instruction none
// of 34 did. The cause inside QEMU is not known.
func emulatorOf(arch string) (emulator, error) {
	switch arch {
	case "arm64":
		return emulator{
			program: "qemu-system-aarch64", debianPackage: "qemu-system-arm",
			machine: []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"},
			console: "ttyAMA0",
		}, nil
	case "amd64":
		return emulator{
			program: "qemu-system-x86_64", debianPackage: "qemu-system-x86",
			machine: []string{"-machine", "q35", "-cpu", "max,cx16=off"},
			console: "ttyS0",
		}, nil
	default:
		return emulator{}, fmt.Errorf("architecture %q is not supported: use arm64 or amd64", arch)
	}
}

// qemuArgs is the whole command line. Ports are host ports, of the way in and
// then of cfg.Forwards.
func qemuArgs(e emulator, cfg Config, kernel Kernel, initramfs, swapFile string, ports []int) []string {
	accel := []string{"-accel", "tcg,thread=multi"}
	if cfg.InstructionClock {
		accel = []string{"-accel", "tcg,thread=single", "-icount", fmt.Sprintf("shift=%d,sleep=off", cfg.ClockShift)}
	}
	// An oops is made a panic, and a panic ends the machine (-no-reboot), so
	// that neither is overlooked or waited for.
	words := append([]string{"console=" + e.console, "quiet", "panic=-1", "oops=panic"}, cfg.Append...)
	if cfg.InstructionClock && cfg.CPUs > 1 {
		// Else the processors' ticks come at once, and each waits for all others,
		// as one runs at a time.
		words = append(words, "skew_tick=1")
	}
	var network strings.Builder
	network.WriteString("user,id=net,ipv6=off" + hostForward(ports[0], "", wire.Port))
	for i, f := range cfg.Forwards {
		network.WriteString(hostForward(ports[1+i], f.GuestAddress, f.GuestPort))
	}
	args := append([]string{}, e.machine...)
	args = append(args, accel...)
	args = append(args,
		"-smp", strconv.Itoa(cfg.CPUs), "-m", strconv.Itoa(cfg.MemoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-netdev", network.String(), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-kernel", kernel.Image, "-initrd", initramfs, "-append", strings.Join(words, " "))
	if swapFile != "" {
		// The swap file's content is worth nothing after the machine's end.
		args = append(args, "-drive", "if=none,id=swap,format=raw,cache=unsafe,discard=unmap,file="+swapFile,
			"-device", "virtio-blk-pci,drive=swap")
	}
	return args
}

func hostForward(hostPort int, guestAddress string, guestPort int) string {
	return fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-%s:%d", hostPort, guestAddress, guestPort)
}

// makeSwapFile makes a sparse file; the guest formats it.
func makeSwapFile(cfg Config, dir string) (string, error) {
	if cfg.SwapMiB == 0 {
		return "", nil
	}
	path := filepath.Join(dir, "swap")
	file, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("make the swap disk: %w", err)
	}
	defer file.Close()
	if err := file.Truncate(int64(cfg.SwapMiB) << 20); err != nil {
		return "", fmt.Errorf("make the swap disk: %w", err)
	}
	return path, nil
}

// qemu is the running emulator.
type qemu struct {
	process *os.Process
	// ended is closed when the process has ended; err is set before.
	ended chan struct{}
	err   error
}

// startQEMU runs the emulator so that it dies with this process: of two ways
// to be left behind, a killed parent is the one that Close cannot handle. The
// kernel sends the signal when the parent's *thread* ends, so the goroutine
// keeps its thread until QEMU has ended.
func startQEMU(program string, args []string, console *console) (*qemu, error) {
	cmd := exec.CommandContext(context.Background(), program, args...)
	cmd.Stdout, cmd.Stderr = console, console
	// In a process group of its own a Ctrl-C on the terminal reaches only this
	// process, which then ends the machine in good order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	q := &qemu{ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		q.process = cmd.Process
		started <- err
		if err == nil {
			q.err = cmd.Wait()
			close(q.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return q, nil
}
