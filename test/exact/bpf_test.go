// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// mustReadThrough holds that the agent reads the way that the test is about.
func mustReadThrough(t *testing.T, a *Agent, iterator bool) {
	t.Helper()
	sources, err := a.Metrics("/metrics", "slicewatch_source_up")
	if err != nil {
		t.Fatal(err)
	}
	up := sources[labelled("slicewatch_source_up", map[string]string{"source": "cgroup_iterator"})] == 1
	if up != iterator {
		t.Fatalf("the eBPF iterator is in use: %t, want %t\n%s", up, iterator, a.Log())
	}
}

// TestRequiredWithoutRights holds that an agent that must use eBPF and may not
// says so and does not start.
func TestRequiredWithoutRights(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	if _, err := tree.AddPod(kubetree.PodSpec{Name: "a", Containers: []kubetree.ContainerSpec{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	a, err := StartAgent(Config{StateDir: t.TempDir(), UID: nobody, Flags: []string{"--bpf=required"}})
	if err == nil {
		_ = a.Kill()
		t.Fatal("it started")
	}
	for _, want := range []string{"--bpf=required", "cgroup_iterator", "no permission", "BPF and PERFMON"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}

// TestDoctorTriesThePrograms holds that the doctor really loads them: all that
// there are load on the kernels that are tested, for root.
func TestDoctorTriesThePrograms(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	if _, err := tree.AddPod(kubetree.PodSpec{Name: "a", Containers: []kubetree.ContainerSpec{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(agentBinary); err != nil {
		t.Skip(ErrNoBinary)
	}
	for flag, want := range map[string]string{"--bpf=auto": "ok", "--bpf=off": "skipped"} {
		out, err := exec.Command(agentBinary, "doctor", flag).Output()
		if err != nil {
			t.Errorf("doctor %s: %v", flag, err)
		}
		said := map[string]string{}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[0], "bpf-") {
				said[words[0]] = words[1]
			}
		}
		if diff := cmp.Diff(map[string]string{
			"bpf-cgroup-iterator": want, "bpf-lifecycle": want, "bpf-oom": want, "bpf-throttle": want, "bpf-stall": want, "bpf-periods": want,
		}, said); diff != "" {
			t.Errorf("doctor %s (-want +got):\n%s\n%s", flag, diff, out)
		}
	}
}
