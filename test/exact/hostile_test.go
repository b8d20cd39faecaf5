// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// fillAndFreeze adds a pod of each class, of which one was throttled, and
// freezes the tree once they have done their work.
func fillAndFreeze(t *testing.T, tree *kubetree.Tree) []*kubetree.Pod {
	t.Helper()
	limited := kubetree.Resources{CPURequestMilli: 50, CPULimitMilli: 100, MemoryRequestBytes: 16 << 20, MemoryLimitBytes: 32 << 20}
	all := kubetree.Resources{CPURequestMilli: 100, CPULimitMilli: 100, MemoryRequestBytes: 24 << 20, MemoryLimitBytes: 24 << 20}
	var pods []*kubetree.Pod
	for _, spec := range []kubetree.PodSpec{
		{Name: "burstable", Containers: []kubetree.ContainerSpec{
			{Name: "a", Resources: limited, Work: work.Cmd("spin cpu=60ms hold=1")},
			{Name: "b", Resources: limited, Work: work.Cmd("hold bytes=2Mi")},
		}},
		{Name: "guaranteed", Containers: []kubetree.ContainerSpec{{Name: "a", Resources: all, Work: work.Cmd("hold bytes=1Mi")}}},
		{Name: "besteffort", Containers: []kubetree.ContainerSpec{{Name: "a", Work: work.Cmd("hold bytes=1Mi")}}},
	} {
		pod, err := tree.AddPod(spec)
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	settled(t, tree.Containers(pods[0])[0].Path)
	if err := tree.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := tree.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return pods
}

// compareFrozen holds everything that comes from files against the files.
func compareFrozen(t *testing.T, tree *kubetree.Tree, a *Agent, besides ...cgroup) {
	t.Helper()
	compared := 0
	whileStill(t, tree, func() string {
		nextSweep(t, a)
		nextSweep(t, a)
		got, n := metrics(t, a), readNode(t, tree, false)
		n.pods = append(n.pods, besides...)
		want := n.expect()
		compared = len(want)
		return differences("/metrics", want, withoutFacts(got))
	})
	t.Logf("%d series compared", compared)
}

// about returns one series of the agent's about itself; it fails if it is absent.
func about(t *testing.T, a *Agent, name string) float64 {
	t.Helper()
	series, err := a.Metrics("/metrics", name[:strings.IndexByte(name, '{')])
	if err != nil {
		t.Fatal(err)
	}
	v, ok := series[name]
	if !ok {
		t.Fatalf("%s is not exported", name)
	}
	return v
}

// TestHostileNames holds that cgroups with any name the kernel takes are
// counted and change nothing else, wherever they are.
func TestHostileNames(t *testing.T) {
	sameOnAllKernels(t)
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	pods := fillAndFreeze(t, tree)
	container := tree.Containers(pods[0])[0].Path
	ignored, followed := 0, 0
	for _, place := range []struct {
		dir string
		// One name is a container's to anyone who allows for ids of other
		// lengths than 64 digits: without processes it has no series.
		ignored, followed bool
	}{
		{tree.Kubepods(), true, false},
		{sliceOf(tree, "burstable"), true, false},
		{pods[0].Path, true, true},
		{pods[1].Path, true, true},
		{container, false, false}, // the container's own business
	} {
		made, err := tree.AddHostile(place.dir)
		if err != nil {
			t.Fatal(err)
		}
		if place.ignored {
			ignored += len(made)
		}
		if place.followed {
			ignored--
			followed++
		}
	}
	// Longer than NAME_MAX, but cgroup file systems do not know that bound.
	if err := os.Mkdir(filepath.Join(tree.Kubepods(), strings.Repeat("x", 1000)), 0o755); err == nil {
		ignored++
	}
	if err := os.Mkdir(filepath.Join(tree.Kubepods(), "line\nfeed"), 0o755); err == nil {
		t.Error("the kernel takes a name with a line feed")
	}
	if err := tree.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := start(t, settings(t))
	compareFrozen(t, tree, a)
	whileStill(t, tree, func() string {
		nextSweep(t, a)
		return cadvisorDifferences(t, tree, a)
	})
	for _, pod := range pods {
		followed += 1 + len(tree.Containers(pod))
	}
	for name, want := range map[string]int{"slicewatch_ignored_cgroups{}": ignored, `slicewatch_cgroups{level="container"}`: followed} {
		if got := about(t, a, name); got != float64(want) {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
	quiet(t, a)
}

// quiet holds that nothing was logged that calls for an operator.
func quiet(t *testing.T, a *Agent) {
	t.Helper()
	for line := range strings.Lines(a.Log()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			t.Errorf("the agent logged: %s", line)
		}
	}
}

// TestWithoutPressure needs a kernel that was booted with psi=0.
func TestWithoutPressure(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/cpu"); err == nil {
		t.Skip("this kernel counts pressure: boot with psi=0 (vmtest -append psi=0)")
	}
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	fillAndFreeze(t, tree)
	a := start(t, settings(t))
	compareFrozen(t, tree, a)
	all, err := a.Metrics("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	cadvisor, err := a.Metrics("/metrics/cadvisor")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []Series{all, cadvisor} {
		for name := range series {
			if strings.Contains(name, "pressure") {
				t.Errorf("%s is there without pressure being counted", name)
			}
		}
	}
	quiet(t, a)
}

// TestKubepodsComesAndGoes starts the agent on a node without kubepods.
func TestKubepodsComesAndGoes(t *testing.T) {
	sameOnAllKernels(t)
	// Skips where there can be no tree, and makes sure that there is none.
	if err := treetest.New(t, kubetree.Spec{}).Close(); err != nil {
		t.Fatal(err)
	}
	a := start(t, settings(t))
	up := `slicewatch_source_up{source="cgroup_files"}`
	kubepods := `slicewatch_cgroups{level="kubepods"}`
	for round, spec := range []kubetree.Spec{{Seed: 1, MemoryQoS: true}, {Seed: 1, MemoryQoS: true}, {Seed: 2, Driver: kubetree.Cgroupfs, MemoryQoS: true}} {
		nextSweep(t, a)
		nextSweep(t, a)
		if v := about(t, a, up); v != 0 {
			t.Errorf("round %d: %s is %v without kubepods", round, up, v)
		}
		if v := about(t, a, kubepods); v != 0 {
			t.Errorf("round %d: %s is %v without kubepods", round, kubepods, v)
		}
		if !strings.Contains(a.Log(), "no kubepods") {
			t.Errorf("the agent does not say that there is no kubepods:\n%s", a.Log())
		}
		tree := treetest.New(t, spec)
		fillAndFreeze(t, tree)
		nextSweep(t, a)
		if v := about(t, a, up); v != 1 {
			t.Errorf("round %d: %s is %v with kubepods", round, up, v)
		}
		compareLiving(t, tree, a)
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	}
	quiet(t, a)
}

// compareLiving is compareFrozen for one tree after another: only what the
// files of now give is compared, and of that only what is not carried on from
// trees before.
func compareLiving(t *testing.T, tree *kubetree.Tree, a *Agent) {
	t.Helper()
	nextSweep(t, a)
	got := metrics(t, a)
	compared := 0
	// Read at another moment the time has another split: only both modes together
	// are what the file says.
	both := strings.NewReplacer(`mode="user"`, `mode="both"`, `mode="system"`, `mode="both"`)
	used, told := map[string]float64{}, map[string]float64{}
	for name, want := range readNode(t, tree, false).expect() {
		if joined := both.Replace(name); joined != name {
			told[joined] += want
			used[joined] += got[name]
			continue
		}
		if strings.Contains(name, "_total{") {
			if got[name] < want {
				t.Errorf("%s is %v, the file says %v", name, got[name], want)
			}
			continue
		}
		compared++
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (exported: %v), the file says %v", name, v, ok, want)
		}
	}
	for name, want := range told {
		if used[name] < want-2e-6 { // each part is rounded down
			t.Errorf("%s is %v, the file says %v", name, used[name], want)
		}
	}
	if compared < 100 || len(told) == 0 {
		t.Errorf("only %d values and %d CPU times were compared", compared, len(told))
	}
}
