// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const kernelTypes = "/sys/kernel/btf"

// withoutTypes calls do on a thread of a mount namespace of its own in which
// the kernel does not describe its types. What the thread starts is in it, too,
// and lives as long as the thread: until the test ends.
func withoutTypes(t *testing.T, do func() error) {
	t.Helper()
	done, release := make(chan error), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- errors.Join(hideTypes(), do())
		<-release
	}()
	t.Cleanup(func() {
		close(release)
		<-ended
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func hideTypes() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to the namespace: %w", err)
	}
	if err := unix.Mount("tmpfs", kernelTypes, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("hide %s: %w", kernelTypes, err)
	}
	return nil
}

// TestWithoutKernelTypes holds what becomes of a node whose kernel does not
// describe its types (CONFIG_DEBUG_INFO_BTF): files are read, everything that
// only eBPF tells is absent and said to be, with the mend; an agent that must
// use eBPF does not start.
func TestWithoutKernelTypes(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	if _, err := os.Stat(agentBinary); err != nil {
		t.Skip(ErrNoBinary)
	}
	pod, err := tree.AddPod(kubetree.PodSpec{Name: "plain", Containers: []kubetree.ContainerSpec{
		{Name: "app", Work: work.Cmd("spin cpu=50ms hold=1"), Resources: kubetree.Resources{CPULimitMilli: 100}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var a *Agent
	var report []byte
	var required error
	withoutTypes(t, func() (err error) {
		if a, err = StartAgent(settings(t)); err != nil {
			return err
		}
		// Its status says that something is amiss.
		report, _ = exec.Command(agentBinary, "doctor", "--output=json").Output()
		var strict *Agent
		if strict, required = StartAgent(Config{StateDir: t.TempDir(), Flags: []string{"--bpf=required"}}); required == nil {
			return errors.Join(errors.New("an agent that must use eBPF started"), strict.Kill())
		}
		return nil
	})
	t.Cleanup(func() { _ = a.Kill() })
	nextSweep(t, a)
	const mend = "CONFIG_DEBUG_INFO_BTF"
	if !strings.Contains(required.Error(), "no type information") || !strings.Contains(required.Error(), mend) {
		t.Errorf("the agent that must use eBPF ended with %v", required)
	}
	checkReport(t, report, mend, "btf", "bpf-cgroup-iterator", "bpf-lifecycle", "bpf-oom", "bpf-throttle", "bpf-stall", "bpf-periods")
	checkWithoutPrograms(t, a, pod)
}

// checkReport holds that the doctor's report has the checks as degraded, each
// with its cost and the mend.
func checkReport(t *testing.T, report []byte, mend string, checks ...string) {
	t.Helper()
	var told struct {
		Checks []struct{ Check, Status, Found, Cost, Mend string }
	}
	if err := json.Unmarshal(report, &told); err != nil {
		t.Fatalf("read the doctor's report: %v\n%s", err, report)
	}
	missing := slices.Clone(checks)
	for _, c := range told.Checks {
		if !slices.Contains(checks, c.Check) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == c.Check })
		if c.Status != "degraded" || c.Cost == "" || !strings.Contains(c.Mend, mend) {
			t.Errorf("the doctor says %+v, want it degraded with the mend %s", c, mend)
		}
	}
	if len(missing) > 0 {
		t.Errorf("the doctor says nothing of %q:\n%s", missing, report)
	}
}

func checkWithoutPrograms(t *testing.T, a *Agent, pod *kubetree.Pod) {
	t.Helper()
	got, err := a.Metrics("/metrics", "slicewatch_source_up", "slicewatch_container_")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"cgroup_iterator", "lifecycle", "oom", "throttle", "stall", "periods"} {
		if up, there := got[labelled("slicewatch_source_up", map[string]string{"source": source})]; !there || up != 0 {
			t.Errorf("the source %s is up: %v (told: %v)", source, up, there)
		}
	}
	usage := 0.0 // in user and in system mode
	for name, v := range got {
		if strings.HasPrefix(name, "slicewatch_container_cpu_usage_seconds_total{") && strings.Contains(name, pod.UID) {
			usage += v
		}
	}
	if usage < 0.05 {
		t.Errorf("files tell of %v s of CPU time, want at least what the container spun", usage)
	}
	for _, family := range []string{throttleDurations, stallDurations} {
		if h := histograms(t, a, family); len(h) > 0 {
			t.Errorf("%s is told without eBPF: %v", family, h)
		}
	}
}
