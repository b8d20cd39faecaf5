// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// victims are the kills that there were, by what each should be told as.
type victims struct {
	t    *testing.T
	tree *kubetree.Tree
	want map[string]int
	pids map[int]string // of main processes
	name map[uint64]string
	// limits says that the programs know which limit was hit.
	limits bool
}

func newVictims(t *testing.T, tree *kubetree.Tree) *victims {
	v := &victims{t: t, tree: tree, want: map[string]int{}, pids: map[int]string{}, name: map[uint64]string{}, limits: true}
	quietConsole(t)
	return v
}

// quietConsole keeps the kernel's reports of OOM kills off the emulated serial
// line, which takes longer for each than the kill.
func quietConsole(t *testing.T) {
	const setLevel = 8 // SYSLOG_ACTION_CONSOLE_LEVEL
	if _, _, errno := unix.Syscall(unix.SYS_SYSLOG, setLevel, 0, 1); errno != 0 {
		t.Logf("set the console's log level: %v", errno)
	}
}

func (v *victims) call(dir, name string) string {
	v.name[idOf(v.t, dir)] = name
	return name
}

// expect notes n kills in a container by a limit.
func (v *victims) expect(c *kubetree.Container, limit string, group bool, n int) {
	victim := v.call(c.Path, c.Pod.Spec.Name+"/"+c.Spec.Name+"/"+strconv.Itoa(c.Attempt))
	if limit == "" {
		limit = victim
	}
	v.want[told(victim, limit, group, v.limits)] += n
	v.pids[c.PID] = victim
}

func told(victim, limit string, group, limits bool) string {
	switch {
	case !limits:
		return victim
	case group:
		return victim + ", all of it, by " + limit
	}
	return victim + " by " + limit
}

// compare holds what was told against what there was.
func (v *victims) compare(kills []events.Kill) {
	v.t.Helper()
	got, seen := map[string]int{}, map[int]bool{}
	incidents := map[uint64][]string{}
	for _, k := range kills {
		limit := v.name[k.Limit.ID]
		if k.Global {
			limit = "the node"
		}
		got[told(v.victim(k), limit, k.Group, v.limits)]++
		if seen[k.PID] {
			v.t.Errorf("process %d was told twice", k.PID)
		}
		seen[k.PID] = true
		if want, ok := v.pids[k.PID]; ok && want != v.victim(k) {
			v.t.Errorf("process %d of %s was told as of %s", k.PID, want, v.victim(k))
		}
		if k.LimitKnown != v.limits || (k.Incident != 0) != v.limits {
			v.t.Errorf("%s: limit known %v, incident %d", v.victim(k), k.LimitKnown, k.Incident)
		}
		incidents[k.Incident] = append(incidents[k.Incident], v.victim(k))
		v.plausible(k)
	}
	if diff := cmp.Diff(v.want, got); diff != "" {
		v.t.Errorf("kills (-there were, +told):\n%s", diff)
	}
	if !v.limits {
		return
	}
	for number, in := range incidents {
		for _, other := range in[1:] {
			if other != in[0] {
				v.t.Errorf("incident %d has victims in %s and %s", number, in[0], other)
			}
		}
	}
}

func (v *victims) victim(k events.Kill) string {
	for _, id := range k.Victim.Below {
		if name := v.name[id]; strings.Count(name, "/") == 2 {
			return name
		}
	}
	return fmt.Sprintf("unknown cgroup %d below %v", k.Victim.ID, k.Victim.Below)
}

func (v *victims) plausible(k events.Kill) {
	v.t.Helper()
	rss := k.AnonBytes + k.FileBytes + k.ShmemBytes
	// The least is the parent of one that grows, less what up to Linux 6.1 each of
	// its threads keeps to itself: 64 pages (mm/memory.c, TASK_RSS_EVENTS_THRESH).
	if k.AnonBytes < 100<<10 || rss > 8<<30 {
		v.t.Errorf("%s: anon %d, file %d, shmem %d bytes", v.victim(k), k.AnonBytes, k.FileBytes, k.ShmemBytes)
	}
	if k.Command == "" || k.TriggerCommand == "" || k.TriggerPID == 0 {
		v.t.Errorf("%s: command %q, triggered by %d %q", v.victim(k), k.Command, k.TriggerPID, k.TriggerCommand)
	}
	if age := time.Since(k.Time); age < 0 || age > time.Hour {
		v.t.Errorf("%s: killed %v ago", v.victim(k), age)
	}
	if v.limits && !k.Global && (k.LimitBytes < 1<<20 || k.UsageBytes < k.LimitBytes/2 || k.Constraint != events.ConstraintMemcg) {
		v.t.Errorf("%s: limit %d, usage %d, constraint %d", v.victim(k), k.LimitBytes, k.UsageBytes, k.Constraint)
	}
}

const mib = 1 << 20

var grow = work.Cmd("grow step=1Mi every=1ms")

// pod adds a pod whose containers are killed or wait to be.
func (v *victims) pod(name string, limit *kubetree.Resources, containers ...kubetree.ContainerSpec) *kubetree.Pod {
	v.t.Helper()
	pod, err := v.tree.AddPod(kubetree.PodSpec{Name: name, Resources: limit, Containers: containers})
	if err != nil {
		v.t.Fatal(err)
	}
	v.call(pod.Path, name)
	return pod
}

func (v *victims) start(pod *kubetree.Pod, spec kubetree.ContainerSpec) *kubetree.Container {
	v.t.Helper()
	c, err := v.tree.StartContainer(pod, spec)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *victims) wait(c *kubetree.Container) {
	v.t.Helper()
	if _, err := v.tree.Wait(v.t.Context(), c); err != nil {
		v.t.Fatal(err)
	}
}

// ownLimit kills n containers at once, each by its own limit: a burst.
func (v *victims) ownLimit(name string, n int, group bool) {
	specs := make([]kubetree.ContainerSpec, n, n+1)
	for i := range specs {
		specs[i] = kubetree.ContainerSpec{
			Name: fmt.Sprint("c", i), Work: grow, SingleProcessOOMKill: !group,
			Resources: kubetree.Resources{MemoryLimitBytes: 16 * mib},
		}
	}
	pod := v.pod(name, nil, append(specs, kubetree.ContainerSpec{Name: "keeper"})...)
	for _, c := range v.tree.Containers(pod)[:n] {
		v.expect(c, "", group, 1)
		v.wait(c)
	}
	v.remove(pod)
}

// remove takes the container's cgroups away at once, as a runtime does.
func (v *victims) remove(pod *kubetree.Pod) {
	v.t.Helper()
	if err := v.tree.RemovePod(pod); err != nil {
		v.t.Fatal(err)
	}
}

// groups kills n containers of two processes each.
func (v *victims) groups(name string, n int) {
	pod := v.pod(name, nil, kubetree.ContainerSpec{Name: "keeper"})
	for range n {
		c := v.start(pod, kubetree.ContainerSpec{
			Name: "pair", Work: work.Cmd("child step=1Mi every=1ms pause=1ms"), Resources: kubetree.Resources{MemoryLimitBytes: 24 * mib},
		})
		v.expect(c, "", true, 2)
		v.wait(c)
		if err := v.tree.RemoveContainer(c); err != nil {
			v.t.Fatal(err)
		}
	}
	v.remove(pod)
}

// children kills n children of one process, which lives on.
func (v *victims) children(name string, n int) {
	// The keeper has no limit, so that the pod has none: it would be hit first.
	pod := v.pod(name, nil, kubetree.ContainerSpec{
		Name: "parent", SingleProcessOOMKill: true, Layout: kubetree.Nested,
		Work: work.Cmd(fmt.Sprintf("child step=1Mi every=1ms pause=1ms rounds=%d", n)), Resources: kubetree.Resources{MemoryLimitBytes: 24 * mib},
	}, kubetree.ContainerSpec{Name: "keeper"})
	c := v.tree.Containers(pod)[0]
	v.expect(c, "", false, n)
	delete(v.pids, c.PID)
	v.eventually(filepath.Join(c.Path, "memory.events"), fmt.Sprintf("oom_kill %d\n", n))
	v.remove(pod)
}

func (v *victims) eventually(file, want string) {
	v.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil {
			v.t.Fatal(err)
		}
		if strings.Contains(string(text), want) {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("%s never had %q: %s", file, want, text)
		}
	}
}

// podLimit kills n containers without a limit by that of their pod.
func (v *victims) podLimit(name string, n int) {
	pod := v.pod(name, &kubetree.Resources{MemoryLimitBytes: 48 * mib, MemoryRequestBytes: 8 * mib, CPURequestMilli: 10}, kubetree.ContainerSpec{Name: "keeper"})
	for range n {
		c := v.start(pod, kubetree.ContainerSpec{Name: "big", Work: grow, SingleProcessOOMKill: true, Resources: kubetree.Resources{MemoryRequestBytes: 8 * mib}})
		v.expect(c, name, false, 1)
		v.wait(c)
		if err := v.tree.RemoveContainer(c); err != nil {
			v.t.Fatal(err)
		}
	}
	v.remove(pod)
}

// above kills n containers that have no limit and whose pod has none, by that
// of the QoS slice, or by the node's memory.
func (v *victims) above(name, limit string, n int) {
	pod := v.pod(name, nil, kubetree.ContainerSpec{Name: "keeper"})
	for range n {
		work := grow
		if limit == "the node" {
			work.Args = []string{"step=32Mi", "every=1ms"}
		}
		c := v.start(pod, kubetree.ContainerSpec{Name: "big", Work: work, SingleProcessOOMKill: true})
		v.expect(c, limit, false, 1)
		v.wait(c)
		if err := v.tree.RemoveContainer(c); err != nil {
			v.t.Fatal(err)
		}
	}
	v.remove(pod)
}

func (v *victims) sliceLimit(name string, n int) {
	slice := filepath.Dir(v.pod(name+"-place", nil, kubetree.ContainerSpec{Name: "keeper"}).Path)
	v.call(slice, "the slice")
	file := filepath.Join(slice, "memory.max")
	if err := os.WriteFile(file, []byte("100M"), 0); err != nil {
		v.t.Fatal(err)
	}
	v.above(name, "the slice", n)
	if err := os.WriteFile(file, []byte("max"), 0); err != nil {
		v.t.Fatal(err)
	}
}

// all is every kind of kill, about 200.
func (v *victims) all(short bool) {
	n := func(long, short_ int) int {
		if short {
			return short_
		}
		return long
	}
	v.ownLimit("burst", n(50, 12), false)
	v.ownLimit("burst-groups", n(50, 5), true)
	v.groups("pairs", n(15, 2))
	v.children("children", n(30, 4))
	v.podLimit("pods", n(20, 2))
	v.sliceLimit("slices", n(15, 2))
	v.above("global", "the node", n(4, 1))
}

func TestEveryKillIsToldOnce(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	r := open(t, tree, events.Config{})
	v := newVictims(t, tree)
	var got recorder
	began := time.Now()
	v.all(!long.Asked())
	r.Drain(&got)
	t.Logf("%d kills in %v", len(got.kills), time.Since(began).Round(time.Second))
	v.compare(got.kills)
	for _, line := range sortedKeys(v.want) {
		if !strings.HasPrefix(line, "burst") {
			t.Logf("%d %s", v.want[line], line)
		}
	}
	lifecycle, oom := r.Tallies()
	if oom.Lost != 0 || oom.Failed != 0 || lifecycle.Failed != 0 {
		t.Errorf("tallies: lifecycle %+v, OOM %+v", lifecycle, oom)
	}
	t.Logf("tallies: lifecycle %+v, OOM %+v", lifecycle, oom)
	var span []time.Time
	for _, k := range got.kills {
		if strings.HasPrefix(v.victim(k), "burst/") {
			span = append(span, k.Time)
		}
	}
	if len(span) > 0 {
		t.Logf("%d kills of the first burst within %v", len(span), span[len(span)-1].Sub(span[0]))
	}
}
