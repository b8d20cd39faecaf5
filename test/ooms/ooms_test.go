// SPDX-License-Identifier: Apache-2.0

package ooms

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/test/exact"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const (
	mi = 1 << 20
	// settle is how long the agent may take to tell a kill from files: the
	// sweep that sees it, one that shows that it was all, and an emulated
	// machine that is late.
	settle = 90 * time.Second
)

func TestMain(m *testing.M) {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// node is a machine with a tree of pods and an agent.
type node struct {
	*kubetree.Tree
	t     *testing.T
	agent *exact.Agent
	flags []string
	// want is what the agent has to say: "<pod> <scope>" to kills/processes.
	want map[string]string
	pods map[string]string // UID to name
	n    map[string][2]int
	// groups are those of which the agent only knows what files say.
	groups map[string]bool
}

func newNode(t *testing.T, flags ...string) *node {
	t.Helper()
	needsSmallMachine(t)
	tree := treetest.New(t, kubetree.Spec{})
	n := &node{Tree: tree, t: t, flags: flags, want: map[string]string{}, pods: map[string]string{}, n: map[string][2]int{}}
	n.start(exact.Config{StateDir: t.TempDir(), Flags: flags})
	t.Cleanup(func() {
		_ = n.agent.Kill()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", n.agent.Log())
		}
	})
	return n
}

func (n *node) start(cfg exact.Config) {
	n.t.Helper()
	a, err := exact.StartAgent(cfg)
	if errors.Is(err, exact.ErrNoBinary) {
		n.t.Skip(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.agent = a
}

// restart kills the agent, lets something happen and starts it again.
func (n *node) restart(meanwhile func()) {
	n.t.Helper()
	if err := n.agent.Kill(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Logf("log of the agent that was killed:\n%s", n.agent.Log())
	meanwhile()
	n.start(n.agent.Config)
}

// pod makes a pod of one container; what of the limits is 0 there is none.
func (n *node) pod(name string, podLimit, limit int64, single bool, command string) *kubetree.Container {
	n.t.Helper()
	request := int64(mi)
	if podLimit == 0 && limit == 0 {
		request = 0 // BestEffort: the kernel's first choice
	}
	pod, err := n.AddPod(kubetree.PodSpec{
		Name: name, Resources: &kubetree.Resources{MemoryRequestBytes: request, MemoryLimitBytes: podLimit},
		Containers: []kubetree.ContainerSpec{{
			Name: "app", Resources: kubetree.Resources{MemoryRequestBytes: request, MemoryLimitBytes: limit}, SingleProcessOOMKill: single,
			Work: work.Cmd(command),
		}},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.pods[pod.UID] = name
	return n.Containers(pod)[0]
}

// expect adds to what the agent has to say.
func (n *node) expect(pod string, scope snapshot.OOMScope, kills, processes int) {
	at := fmt.Sprintf("%s %s", pod, scope)
	have := n.n[at]
	n.n[at] = [2]int{have[0] + kills, have[1] + processes}
	n.want[at] = fmt.Sprintf("%d/%d", n.n[at][0], n.n[at][1])
}

// removeWhenKilled removes the container's cgroup at once when it was killed,
// as a runtime does.
func (n *node) removeWhenKilled(c *kubetree.Container) {
	n.t.Helper()
	exit, err := n.Wait(n.t.Context(), c)
	if err != nil {
		n.t.Fatal(err)
	}
	if exit.Code != 137 {
		n.t.Fatalf("container of %s ended with %+v, want to see it killed", c.Pod.Spec.Name, *exit)
	}
	if err := n.RemoveContainer(c); err != nil {
		n.t.Fatal(err)
	}
}

// limit sets memory.max of a cgroup so much above what it uses.
func (n *node) limit(dir string, above int64) (undo func()) {
	n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "memory.current"))
	if err != nil {
		n.t.Fatal(err)
	}
	var used int64
	if _, err := fmt.Sscan(string(raw), &used); err != nil {
		n.t.Fatal(err)
	}
	set := func(value string) {
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(value), 0); err != nil {
			n.t.Fatal(err)
		}
	}
	set(fmt.Sprint(used + above))
	return func() { set("max") }
}

// said returns what /metrics says, as n.want has it.
func (n *node) said() map[string]string {
	n.t.Helper()
	series, err := n.agent.Metrics("/metrics", "slicewatch_oom_kill")
	if err != nil {
		n.t.Fatal(err)
	}
	found := map[string][2]int{}
	for name, value := range series {
		i := 0
		if strings.HasPrefix(name, "slicewatch_oom_killed_processes_total{") {
			i = 1
		}
		at := fmt.Sprintf("%s %s", n.pods[label(name, "pod")], label(name, "scope"))
		count := found[at]
		count[i] += int(value)
		found[at] = count
	}
	said := map[string]string{}
	for at, count := range found {
		// In the files a process of a group that the kernel met twice, by two of
		// its threads, is two.
		if want := n.n[at]; n.groups[at] && count[0] == want[0] && count[1] > want[1] && count[1] <= 2*want[1] {
			count = want
		}
		if count != [2]int{} {
			said[at] = fmt.Sprintf("%d/%d", count[0], count[1])
		}
	}
	return said
}

func label(series, name string) string {
	_, after, _ := strings.Cut(series, name+`="`)
	value, _, _ := strings.Cut(after, `"`)
	return value
}

// wait waits until the agent says what it has to, and then some: nothing may
// be counted late or twice.
func (n *node) wait() {
	n.t.Helper()
	for end := time.Now().Add(settle); time.Now().Before(end) && !maps.Equal(n.want, n.said()); {
		time.Sleep(200 * time.Millisecond)
	}
	n.still()
}

// still holds what the agent says against what it has to, now and after 8
// further seconds.
func (n *node) still() {
	n.t.Helper()
	for range 2 {
		if diff := cmp.Diff(n.want, n.said()); diff != "" {
			n.t.Fatalf("kills/processes by pod and scope (-want +said):\n%s", diff)
		}
		time.Sleep(4 * time.Second)
	}
}

// records returns what /api/v1/ooms says.
func (n *node) records(query string) []*snapshot.OOMRecord {
	n.t.Helper()
	body, err := n.agent.Scrape("/api/v1/ooms" + query)
	if err != nil {
		n.t.Fatal(err)
	}
	var list exporter.OOMList
	if err := json.Unmarshal(body, &list); err != nil {
		n.t.Fatal(err)
	}
	return list.OOMs
}

// killEverywhere lets the kernel kill at every level, one after the other. Each
// container lives for some sweeps, so that there is a minute before.
func (n *node) killEverywhere() {
	n.t.Helper()
	single := n.pod("child", 128*mi, 24*mi, true, "child step=4Mi every=1ms pause=3s rounds=4")
	n.expect("child", snapshot.ScopeContainer, 4, 4)
	n.wait()
	n.removeWhenDone(single)

	n.removeWhenKilled(n.pod("podlimit", 32*mi, 256*mi, false, "grow step=1Mi every=80ms"))
	n.expect("podlimit", snapshot.ScopePod, 1, 1)
	n.removeWhenKilled(n.pod("group", 128*mi, 24*mi, false, "child step=4Mi every=1ms pause=2s rounds=1"))
	n.expect("group", snapshot.ScopeContainer, 1, 2)
	n.wait()

	c := n.pod("qos", 0, 0, false, "grow step=1Mi every=80ms")
	undo := n.limit(n.Slice(c.Pod.QoS), 32*mi)
	n.removeWhenKilled(c)
	n.expect("qos", snapshot.ScopeQoS, 1, 1)
	n.wait()
	undo()

	c = n.pod("kubepods", 0, 0, false, "grow step=1Mi every=80ms")
	undo = n.limit(n.Kubepods(), 32*mi)
	n.removeWhenKilled(c)
	n.expect("kubepods", snapshot.ScopeKubepods, 1, 1)
	n.wait()
	undo()

	n.removeWhenKilled(n.pod("node", 0, 0, false, "grow step=8Mi every=50ms"))
	n.expect("node", snapshot.ScopeNode, 1, 1)
	n.wait()
}

// killsEverywhere is how many kills these are.
const killsEverywhere = 9

// needsSmallMachine skips where there is more memory than a machine made for
// this has: it is all used up.
func needsSmallMachine(t *testing.T) {
	t.Helper()
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	if most := uint64(2 << 30); uint64(info.Totalram)*uint64(info.Unit) > most {
		t.Skip("uses up all memory of the machine: run it with vmtest, see `make oom-test`")
	}
}

// removeWhenDone removes a container that lives on.
func (n *node) removeWhenDone(c *kubetree.Container) {
	n.t.Helper()
	if err := n.RemoveContainer(c); err != nil {
		n.t.Fatal(err)
	}
}

// TestFromFiles does without eBPF: what memory.events tells.
func TestFromFiles(t *testing.T) {
	n := newNode(t, "--bpf=off")
	n.groups = map[string]bool{"group container": true}
	n.killEverywhere()
	for _, r := range n.records("") {
		if r.Source != snapshot.OOMFromFiles || len(r.Victims) > 0 || r.Scope != snapshot.ScopeNode && (r.Limit == nil || !r.Limit.Bytes.Known) {
			t.Errorf("a record from files: %+v", r)
		}
	}
	if got := len(n.records("")); got != killsEverywhere {
		t.Errorf("%d records, want %d", got, killsEverywhere)
	}
	// What was killed while no agent looked is found, once.
	n.restart(func() {
		n.removeWhenKilled(n.pod("unwatched", 0, 24*mi, false, "grow step=2Mi every=2ms"))
	})
	// Which container that was, the pod's own counters do not tell.
	n.expect("unwatched", snapshot.ScopeUnknown, 1, 1)
	n.wait()
	alive := n.pod("between", 0, 24*mi, true, "child step=4Mi every=1ms pause=12s rounds=1")
	time.Sleep(4 * time.Second)
	n.restart(func() { time.Sleep(15 * time.Second) })
	n.expect("between", snapshot.ScopeContainer, 1, 1)
	n.wait()
	n.removeWhenDone(alive)
}

// TestFromKernel does with eBPF, which tells all of a kill.
func TestFromKernel(t *testing.T) {
	n := newNode(t, "--bpf=required")
	n.killEverywhere()
	for _, r := range n.records("") {
		n.checkRecord(r)
	}
	if got := len(n.records("")); got != killsEverywhere {
		t.Errorf("%d records, want %d", got, killsEverywhere)
	}
	// Many at once; the agent is killed in the middle of it.
	const pods, rounds = 5, 20
	var alive []*kubetree.Container
	for i := range pods {
		name := fmt.Sprint("burst", i)
		alive = append(alive, n.pod(name, 128*mi, 24*mi, true, fmt.Sprintf("child step=8Mi every=0s pause=1ms rounds=%d", rounds)))
		n.expect(name, snapshot.ScopeContainer, rounds, rounds)
	}
	time.Sleep(5 * time.Second)
	n.restart(func() { time.Sleep(3 * time.Second) })
	n.wait()
	for _, c := range alive {
		n.removeWhenDone(c)
	}
	missed, err := n.agent.Metrics("/metrics", "slicewatch_oom_events_missed_total", "slicewatch_events_lost_total")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records; %v", len(n.records("?limit=1000")), missed)
}

// checkRecord holds that a record of the kernel's own lacks nothing.
func (n *node) checkRecord(r *snapshot.OOMRecord) {
	n.t.Helper()
	if r.Source != snapshot.OOMFromKernel || len(r.Victims) != r.Processes || r.Trigger == nil || len(r.Before) == 0 {
		n.t.Errorf("a record of the kernel's: %+v", r)
		return
	}
	for _, v := range r.Victims {
		if v.PID <= 0 || v.Command == "" || v.AnonBytes == 0 || v.OOMScoreAdj == 0 {
			n.t.Errorf("a victim: %+v", v)
		}
	}
	if r.Scope == snapshot.ScopeNode {
		return
	}
	if r.Limit == nil || r.Limit.Path == "" || !r.Limit.Bytes.Known || !r.Limit.UsageBytes.Known || r.Limit.UsageBytes.N < r.Limit.Bytes.N/2 {
		n.t.Errorf("the limit of %s: %+v", n.pods[r.Pod], r.Limit)
	}
}
