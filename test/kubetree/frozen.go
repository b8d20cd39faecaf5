// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const (
	ki = int64(1) << 10
	mi = int64(1) << 20
)

// Frozen fills the tree with so many pods of so many containers each, lets all
// workloads do a little (some are throttled, held by memory.high, refused
// processes, or lose a child to an OOM kill; see FrozenPods) and then freezes
// kubepods and waits until no file changes any more. The tree should have
// MemoryQoS. It returns when Settle does. Progress, which may be nil, is told
// of each step that takes long.
func (t *Tree) Frozen(ctx context.Context, pods, containersPerPod int, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	for _, spec := range FrozenPods(pods, containersPerPod) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := t.AddPod(spec); err != nil {
			return err
		}
	}
	progress("all pods run")
	if err := t.waitQuiet(ctx); err != nil {
		return err
	}
	progress("their work is done")
	if err := t.Freeze(); err != nil {
		return err
	}
	progress("frozen")
	return t.Settle(ctx)
}

// FrozenPods returns the pods of a frozen tree. Kinds of pods take turns, so
// that a tree of 12 or more has each of them.
func FrozenPods(pods, containersPerPod int) []PodSpec {
	kinds := frozenKinds()
	specs := make([]PodSpec, 0, pods)
	for i := range pods {
		kind := kinds[i%len(kinds)]
		spec := kind.pod
		spec.Name = fmt.Sprintf("%s-%03d", kind.name, i)
		for j := range containersPerPod {
			c := kind.container
			c.Name = fmt.Sprintf("%s-%d", kind.name, j)
			if c.Work.Kind == "cache" {
				file := filepath.Join(cacheDir(), fmt.Sprintf("kubetree-%d-%d", i, j))
				c.Work = work.Cmd(c.Work.String() + " file=" + file)
			}
			spec.Containers = append(spec.Containers, c)
		}
		specs = append(specs, spec)
	}
	return specs
}

type frozenKind struct {
	name      string
	pod       PodSpec
	container ContainerSpec
}

func frozenKinds() []frozenKind {
	res := func(cpuRequest, cpuLimit, memoryRequest, memoryLimit int64) Resources {
		return Resources{cpuRequest, cpuLimit, memoryRequest, memoryLimit}
	}
	return []frozenKind{
		{"spinning", PodSpec{}, ContainerSpec{Resources: res(50, 200, 16*mi, 32*mi), Work: work.Cmd("spin cpu=100ms hold=1")}},
		{"guaranteed", PodSpec{}, ContainerSpec{Resources: res(100, 100, 24*mi, 24*mi), Work: work.Cmd("hold bytes=2Mi")}},
		{"besteffort", PodSpec{}, ContainerSpec{Work: work.Cmd("hold bytes=1Mi")}},
		{"held", PodSpec{}, ContainerSpec{Resources: res(50, 0, 4*mi, 44*mi), Work: work.Cmd("over bytes=40Mi step=1Mi rounds=1")}},
		{"bursting", PodSpec{}, ContainerSpec{Resources: res(100, 300, 16*mi, 0), CPUBurstMicros: 20_000, Work: work.Cmd("burst threads=3 work=20ms period=200ms for=600ms hold=1")}},
		{"forking", PodSpec{PIDsLimit: 64}, ContainerSpec{Resources: res(20, 0, 8*mi, 0), PIDsLimit: 15, Work: work.Cmd("fork max=30 tries=2")}},
		{"losing", PodSpec{}, ContainerSpec{Resources: res(50, 0, 16*mi, 24*mi), SingleProcessOOMKill: true, Work: work.Cmd("child step=4Mi every=1ms pause=50ms rounds=1")}},
		{"caching", PodSpec{}, ContainerSpec{Resources: res(50, 0, 8*mi, 32*mi), Work: work.Cmd("cache bytes=1Mi pause=10ms")}},
		{"static", PodSpec{Static: true, NodeCritical: true}, ContainerSpec{Resources: res(250, 0, 0, 0), Work: work.Cmd("spin cpu=20ms hold=1")}},
		{"nested", PodSpec{}, ContainerSpec{Resources: res(100, 0, 16*mi, 64*mi), Layout: Nested, Work: work.Cmd("spin cpu=20ms hold=1")}},
		{"threaded", PodSpec{}, ContainerSpec{Resources: res(100, 400, 16*mi, 64*mi), Layout: Threaded, Work: work.Cmd("thread for=500ms")}},
		{"swapping", PodSpec{}, ContainerSpec{Resources: res(50, 0, 12*mi, 24*mi), SwapLimitBytes: swapLimit(32 * mi), Work: work.Cmd("hold bytes=" + swapDemand())}},
	}
}

// cacheDir returns a folder on a disk, or the temporary folder, whose files
// count as shared memory when it is a tmpfs.
func cacheDir() string {
	if dir, ok := DiskDir(); ok {
		return dir
	}
	return os.TempDir()
}

// DiskDir returns where a file system on a block device is mounted that can be
// written to; ok is false when there is none.
func DiskDir() (dir string, ok bool) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasPrefix(f[0], "/dev/") && strings.HasPrefix(f[3]+",", "rw,") {
			return f[1], true
		}
	}
	return "", false
}

// HasSwap reports whether the node has swap space.
func HasSwap() bool {
	data, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(data), "\n") > 1
}

func swapLimit(bytes int64) int64 {
	if HasSwap() {
		return bytes
	}
	return 0
}

// swapDemand is more than the container's limit where that leads to swapping
// and not to an OOM kill.
func swapDemand() string {
	if HasSwap() {
		return "32Mi"
	}
	return "4Mi"
}

// waitQuiet waits until the tree has used next to no CPU for two seconds.
// Workloads that never end are quiet enough.
func (t *Tree) waitQuiet(ctx context.Context) error {
	const tick, enough = time.Second, 2
	deadline := time.Now().Add(patience)
	before, quiet := int64(0), 0
	for quiet < enough && time.Now().Before(deadline) {
		usage, err := countOf(t.Kubepods(), "cpu.stat", "usage_usec")
		if err != nil {
			return err
		}
		quiet++
		if usage-before > tick.Microseconds()/5 {
			quiet = 0
		}
		before = usage
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tick):
		}
	}
	return nil
}

// Freeze stops every process below kubepods where it is. No container can be
// started until Thaw; they can be killed.
func (t *Tree) Freeze() error {
	if err := apply(t.Kubepods(), []setting{{file: "cgroup.freeze", value: "1"}}); err != nil {
		return err
	}
	return waitEvent(t.Kubepods(), "frozen", true)
}

// Thaw undoes Freeze.
func (t *Tree) Thaw() error {
	if err := apply(t.Kubepods(), []setting{{file: "cgroup.freeze", value: "0"}}); err != nil {
		return err
	}
	return waitEvent(t.Kubepods(), "frozen", false)
}

// Settle waits until two readings of every file in the tree agree, a few
// seconds apart: the kernel folds some counters late. Averages of pressure
// always move, by the clock, and are left out. What still moves after many
// attempts is an error that names it.
func (t *Tree) Settle(ctx context.Context) error {
	const attempts, pause = 12, 3 * time.Second
	before, err := truth.ReadTree(t.Kubepods())
	if err != nil {
		return err
	}
	var moved []truth.Change
	for range attempts {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		after, err := truth.ReadTree(t.Kubepods())
		if err != nil {
			return err
		}
		moved = moved[:0]
		for _, change := range truth.Compare(before, after) {
			if !strings.Contains(change.Key, " avg") {
				moved = append(moved, change)
			}
		}
		if len(moved) == 0 {
			return nil
		}
		before = after
	}
	return fmt.Errorf("the frozen tree does not stand still: %d values move, as %+v", len(moved), moved[0])
}
