// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

func checkRoot(e *examination) Result {
	if e.rootErr == nil {
		return ok("%s is cgroup v2", e.node.CgroupFS)
	}
	result := Result{
		Status: Failing, Found: e.rootErr.Error(),
		Cost: "nothing can be read", Mend: "see slicewatch agent --help for --path.cgroupfs",
	}
	if root, ok := errors.AsType[*cgroupfs.RootError](e.rootErr); ok {
		if root.Mode == cgroupfs.ModeNone && isRecording(e.node.CgroupFS) {
			return Result{Status: Degraded, Found: root.Dir + " looks like a recording of a cgroup tree",
				Cost: "values stand still", Mend: "on a node give the mount point of cgroup v2 with --path.cgroupfs"}
		}
		result.Found, result.Mend = fmt.Sprintf("%s is %s", root.Dir, root.Mode), root.Mend
		if root.Err != nil {
			result.Found = root.Err.Error()
		}
	}
	return result
}

// isRecording says whether the agent would take an ordinary directory for a
// copy of a cgroup tree.
func isRecording(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.controllers"))
	return err == nil
}

func checkKubepods(e *examination) Result {
	const cost = "there are no pods to read"
	switch {
	case e.findErr != nil:
		return Result{Status: Failing, Found: e.findErr.Error(), Cost: cost, Mend: "mend cgroup-root first"}
	case !e.found && e.node.CgroupHint != "":
		return Result{Status: Failing, Found: "none at or below " + e.node.CgroupHint, Cost: cost,
			Mend: "leave out --cgroup.root, so that it is looked for everywhere"}
	case !e.found:
		return Result{Status: Failing, Found: "none below " + e.node.CgroupFS, Cost: cost,
			Mend: "start the kubelet, or say with --cgroup.root where it keeps its pods; " +
				"in a container mount the host's cgroup tree, not the container's own"}
	}
	return ok("%s, cgroup driver %s, %d pods, %d containers", e.kubepods.Path, e.kubepods.Driver,
		e.count(cgroupfs.LevelPod), e.count(cgroupfs.LevelContainer))
}

// controllers are what pods need, with what is lost without them and how the
// kernel is told to have them.
var controllers = [...]struct {
	name   string
	status Status
	cost   string
	mend   string // where the kernel does not have it
}{
	{"cpu", Failing, "CPU limits and throttling", "a kernel with CONFIG_CFS_BANDWIDTH"},
	{"memory", Failing, "memory and OOM kills", "the kernel parameter cgroup_enable=memory in place of cgroup_disable=memory"},
	{"io", Degraded, "disk I/O", "a kernel with CONFIG_BLK_CGROUP"},
	{"pids", Degraded, "process counts", "a kernel with CONFIG_CGROUP_PIDS"},
}

func checkControllers(e *examination) Result {
	if !e.found {
		return skipped(noKubepods)
	}
	dir := filepath.Join(e.node.CgroupFS, e.kubepods.Path)
	enabled, err := words(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return Result{Status: Failing, Found: err.Error(), Cost: "pods cannot be read", Mend: "let the agent read the cgroup tree"}
	}
	available, err := words(filepath.Join(e.node.CgroupFS, "cgroup.controllers"))
	if err != nil {
		available = enabled
	}
	result := ok("%s", strings.Join(enabled, " "))
	var missing, costs, mends []string
	for _, c := range controllers {
		if slices.Contains(enabled, c.name) {
			continue
		}
		if result.Status != Failing {
			result.Status = c.status
		}
		missing, costs = append(missing, c.name), append(costs, c.cost)
		mend := "let the kubelet enable " + c.name + " (it may not write to " + e.kubepods.Path + "/cgroup.subtree_control)"
		if !slices.Contains(available, c.name) {
			mend = c.name + " needs " + c.mend
		}
		mends = append(mends, mend)
	}
	if len(missing) > 0 {
		result.Found = fmt.Sprintf("%s not enabled for pods", strings.Join(missing, ", "))
		result.Cost = "pods have no " + strings.Join(costs, ", no ")
		result.Mend = strings.Join(mends, "; ")
	}
	return result
}

// words returns the words of a file.
func words(name string) ([]string, error) {
	content, err := os.ReadFile(name)
	return strings.Fields(string(content)), err
}

const mendPSI = "boot with the kernel parameter psi=1, on a kernel with CONFIG_PSI"

func checkPressure(e *examination) Result {
	for _, resource := range [...]string{"cpu", "memory", "io"} {
		if _, err := os.ReadFile(filepath.Join(e.node.ProcFS, "pressure", resource)); err != nil {
			return Result{Status: Degraded, Found: "the kernel gives no " + resource + " pressure: " + reason(err),
				Cost: "no node pressure series, and CPU waits cannot be told apart from throttling", Mend: mendPSI}
		}
	}
	return ok("PSI is on")
}

func checkPodPressure(e *examination) Result {
	if !e.found {
		return skipped(noKubepods)
	}
	const cost = "no pressure series for pods, containers and QoS classes"
	dir := filepath.Join(e.node.CgroupFS, e.kubepods.Path)
	for _, name := range [...]string{"cpu.pressure", "memory.pressure", "io.pressure"} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			return Result{Status: Degraded, Found: fmt.Sprintf("%s/%s: %s", e.kubepods.Path, name, reason(err)),
				Cost: cost, Mend: mendPSI}
		}
	}
	// A cgroup can have its own PSI switched off (since 6.1); its files are
	// there then and stand still.
	if on, err := words(filepath.Join(dir, "cgroup.pressure")); err == nil && slices.Equal(on, []string{"0"}) {
		return Result{Status: Degraded, Found: e.kubepods.Path + "/cgroup.pressure is 0", Cost: cost,
			Mend: "write 1 to cgroup.pressure of " + e.kubepods.Path + " and of what is below it"}
	}
	return ok("pods have cpu, memory and io pressure")
}

// reason is an error without the path that the sentence names already.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

// checkFile is for a control file that later kernels added.
func checkFile(e *examination, name, cost, mend string) Result {
	if !e.found {
		return skipped(noKubepods)
	}
	_, err := os.Stat(filepath.Join(e.node.CgroupFS, e.kubepods.Path, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Result{Status: Degraded, Found: fmt.Sprintf("%s has no %s", e.kubepods.Path, name), Cost: cost, Mend: mend}
	case err != nil:
		return Result{Status: Degraded, Found: err.Error(), Cost: cost, Mend: "let the agent read the cgroup tree"}
	}
	return ok("pods have %s", name)
}

func checkMemoryPeak(e *examination) Result {
	return checkFile(e, "memory.peak", "memory peaks between two sweeps are not seen", "boot a kernel of 5.19 or newer")
}

func checkLocalEvents(e *examination) Result {
	return checkFile(e, "memory.events.local",
		"it is not known which level's limit was hit by an OOM", "boot a kernel of 5.2 or newer")
}

func checkBurst(e *examination) Result {
	return checkFile(e, "cpu.max.burst", "no series about CPU bursts", "boot a kernel of 5.14 or newer with CONFIG_CFS_BANDWIDTH")
}
