// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// process is a workload that was started in a cgroup and not yet waited for.
type process struct {
	pid    int
	gate   *os.File            // nil once the workload may begin
	status *syscall.WaitStatus // nil while it runs
}

// start runs cmd with exe in the cgroup dir: the kernel makes the process
// there (clone3 with CLONE_INTO_CGROUP), so that no other cgroup is charged
// for it. The workload does not begin before release.
func start(exe, dir string, cmd work.Command, oomScoreAdj int) (*process, error) {
	cgroup, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
	}
	defer cgroup.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the null device: %w", err)
	}
	defer null.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the gate of %q: %w", cmd, err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "gate"), os.NewFile(uintptr(pair[1]), "gate")
	defer theirs.Close()

	// Inherited over the exec. With huge pages, the Go runtime of a process
	// that does nothing would be charged 5 MiB instead of 1.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0) }()
	}
	pid, err := syscall.ForkExec(exe, append([]string{filepath.Base(exe)}, cmd.Argv(true)...), &syscall.ProcAttr{
		// One thread and no collector unless the workload asks: what the Go
		// runtime does by itself would blur what the workload does.
		Env:   []string{"GOMAXPROCS=1", "GOGC=off"},
		Files: []uintptr{null.Fd(), null.Fd(), uintptr(syscall.Stderr), theirs.Fd()},
		Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())},
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start %q in cgroup %s: %w", cmd, dir, err)
	}
	p := &process{pid: pid, gate: ours}
	file := filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj")
	if err := os.WriteFile(file, []byte(strconv.Itoa(oomScoreAdj)), 0); err != nil {
		return p, fmt.Errorf("set oom_score_adj %d for %q in cgroup %s: %w", oomScoreAdj, cmd, dir, err)
	}
	return p, nil
}

// ready waits until the process is at its gate; dead before that is an error.
func (p *process) ready() error {
	if _, err := p.gate.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("process %d died before its workload began (its limits may be too tight for it): %w", p.pid, err)
	}
	return nil
}

// release lets the workload begin.
func (p *process) release() {
	p.gate.Close()
	p.gate = nil
}

// poll returns how the process ended, or nil while it runs. It does not block,
// so that hundreds of containers cost no thread each.
func (p *process) poll() (*syscall.WaitStatus, error) {
	if p.status != nil {
		return p.status, nil
	}
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(p.pid, &status, unix.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("wait for process %d: %w", p.pid, err)
		}
		if pid == p.pid {
			p.status = &status
			if p.gate != nil {
				p.release()
			}
		}
		return p.status, nil
	}
}

// reap waits for a process that was killed. It stops counting in its cgroup a
// moment before it can be waited for.
func (p *process) reap() error {
	deadline := time.Now().Add(patience)
	for {
		status, err := p.poll()
		if err != nil || status != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for process %d: not over %v after it was killed", p.pid, patience)
		}
		time.Sleep(time.Millisecond)
	}
}
