// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const (
	mount = treetest.Root
	// small is where vmtest -commands puts it: it starts faster than this program.
	small = "/bin/kubetree"
	// periodMicros is the kubelet's cpu.cfs_period_us.
	periodMicros = 100_000
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// container is a cgroup where the kubelet would make a container's, with what
// the agent knows of it.
type container struct {
	t      *testing.T
	dir    string
	cgroup *cgroupfs.Cgroup
	is     snapshot.Container
	main   []*exec.Cmd
	gone   bool
}

// pods returns the directory that containers are made in, or skips the test
// outside of a machine that is there for it.
func pods(t *testing.T) string {
	t.Helper()
	treetest.Need(t)
	dir := mount
	for _, name := range []string{"kubepods", "burstable", "pod1", ""} {
		if err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("+cpu +memory +pids"), 0); err != nil {
			t.Fatal(err)
		}
		if name == "" {
			break
		}
		dir += "/" + name
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	return dir
}

// newContainer makes the cgroup, without a limit.
func newContainer(t *testing.T, parent, name string) *container {
	t.Helper()
	c := &container{t: t, dir: filepath.Join(parent, name)}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	var stat unix.Stat_t
	if err := unix.Stat(c.dir, &stat); err != nil {
		t.Fatal(err)
	}
	c.cgroup = &cgroupfs.Cgroup{ID: stat.Ino, Path: strings.TrimPrefix(c.dir, mount), Level: cgroupfs.LevelContainer}
	c.is = snapshot.Container{
		Series: stat.Ino, CgroupID: stat.Ino, Path: c.cgroup.Path, QoS: cgroupfs.Burstable, Starts: 1,
		Identity: &snapshot.ContainerIdentity{
			Known: true, Namespace: "test", WorkloadKind: "Deployment", Workload: name, Pod: name + "-0", Name: "app", Type: snapshot.AppContainer,
		},
	}
	return c
}

func (c *container) write(file, value string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(value), 0); err != nil {
		c.t.Fatal(err)
	}
}

// limitCPU sets the limit, in cores.
func (c *container) limitCPU(cores float64) {
	c.t.Helper()
	c.write("cpu.max", fmt.Sprintf("%d %d", int(cores*periodMicros+0.5), periodMicros))
}

// start starts the works as processes of the container. They start outside, so
// that what it takes to start them is not theirs.
func (c *container) start(works []string) {
	c.t.Helper()
	executable := small
	if _, err := os.Stat(small); err != nil {
		executable = "/proc/self/exe"
	}
	var gates []io.Closer
	for _, line := range works {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(ends[0]), "gate"), os.NewFile(uintptr(ends[1]), "gate")
		cmd := exec.Command(executable, work.Cmd(line).Argv(true)...)
		cmd.Stderr = os.Stderr
		cmd.ExtraFiles = []*os.File{theirs}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		theirs.Close()
		c.main = append(c.main, cmd)
		if _, err := ours.Read(make([]byte, 1)); err != nil {
			c.t.Fatalf("%s does not come to the gate: %v", line, err)
		}
		c.write("cgroup.procs", fmt.Sprint(cmd.Process.Pid))
		gates = append(gates, ours)
	}
	for _, gate := range gates {
		gate.Close()
	}
}

// stop kills what runs in the container and waits for its end.
func (c *container) stop() {
	c.write("cgroup.kill", "1")
	for _, cmd := range c.main {
		_ = cmd.Wait() // killed
	}
	c.main = nil
}

func (c *container) remove() {
	if c.gone {
		return
	}
	c.gone = true
	c.stop()
	for range 500 {
		if err := os.Remove(c.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Errorf("%s cannot be removed", c.dir)
}

// counts are cpu.stat's.
type counts struct{ usage, stall, periods, throttled uint64 }

func (c *container) counts() counts {
	c.t.Helper()
	stat, err := cgroupfs.OpenCPUStat(mount, c.cgroup)
	if err != nil {
		c.t.Fatal(err)
	}
	defer stat.Close()
	var r cgroupfs.Reading
	if err := stat.Read(&r); err != nil {
		c.t.Fatal(err)
	}
	var n counts
	for field, to := range map[cgroupfs.Field]*uint64{
		cgroupfs.CPUUsage: &n.usage, cgroupfs.CPUThrottled: &n.stall,
		cgroupfs.CPUPeriods: &n.periods, cgroupfs.CPUThrottledPeriods: &n.throttled,
	} {
		*to, _ = r.Get(field)
	}
	return n
}

// since returns the share of throttled periods and of waiting since before.
func (c *container) since(before counts) (throttled, slowdown float64) {
	c.t.Helper()
	now := c.counts()
	if periods := now.periods - before.periods; periods > 0 {
		throttled = float64(now.throttled-before.throttled) / float64(periods)
	}
	used, stall := float64(now.usage-before.usage), float64(now.stall-before.stall)
	if used+stall > 0 {
		slowdown = stall / (used + stall)
	}
	return throttled, slowdown
}
