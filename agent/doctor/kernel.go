// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// kernelVersion is major and minor.
type kernelVersion struct{ major, minor int }

func (v kernelVersion) before(other kernelVersion) bool {
	return v.major < other.major || v.major == other.major && v.minor < other.minor
}

func (v kernelVersion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// parseKernel reads the start of "6.12.107+deb13-cloud-arm64".
func parseKernel(release string) (kernelVersion, bool) {
	majorText, rest, ok := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.Atoi(majorText)
	minor, err2 := strconv.Atoi(rest[:end])
	return kernelVersion{major, minor}, ok && err == nil && err2 == nil
}

// kernelFeatures are what later kernels added to cgroup v2, with the release
// that first had it. Distributions port some of it back, so that the verdict on
// each is its own check's; this list explains it.
var kernelFeatures = [...]struct {
	since kernelVersion
	what  string
}{
	{kernelVersion{5, 2}, "memory.events.local"},
	{kernelVersion{5, 14}, "CPU bursts"},
	{kernelVersion{5, 17}, "the oom_group_kill event"},
	{kernelVersion{5, 19}, "memory.peak"},
}

// kubernetesKernel is the oldest kernel that Kubernetes supports with cgroup
// v2 (Kubernetes documentation, "About cgroup v2").
var kubernetesKernel = kernelVersion{5, 8}

func checkKernel(e *examination) Result {
	release := e.node.System.KernelRelease
	version, ok2 := parseKernel(release)
	if !ok2 {
		return Result{Status: Degraded, Found: fmt.Sprintf("the release %q has no version number", release),
			Cost: "nothing can be said about what this kernel has", Mend: "trust the other checks"}
	}
	var missing []string
	for _, feature := range kernelFeatures {
		if version.before(feature.since) {
			missing = append(missing, fmt.Sprintf("%s (%s)", feature.what, feature.since))
		}
	}
	if len(missing) == 0 {
		return ok("%s", release)
	}
	result := Result{
		Status: Degraded, Found: release,
		Cost: "such kernels do not have " + strings.Join(missing, ", ") + " unless the distribution added it",
		Mend: "boot a newer kernel",
	}
	if version.before(kubernetesKernel) {
		result.Found += fmt.Sprintf(", older than the %s that Kubernetes wants with cgroup v2", kubernetesKernel)
	}
	return result
}

// usualPageBytes is the page size that the budgets were measured with.
const usualPageBytes = 4096

func checkPlatform(e *examination) Result {
	system := e.node.System
	found := fmt.Sprintf("%s, pages of %d KiB", system.Machine, system.PageBytes>>10)
	switch {
	case system.Machine != "aarch64" && system.Machine != "x86_64":
		return Result{Status: Degraded, Found: found,
			Cost: "slicewatch is tested on aarch64 and x86_64 only", Mend: "use it with care"}
	case system.PageBytes > usualPageBytes:
		return Result{Status: Degraded, Found: found,
			Cost: "a file kept open costs a page of kernel memory, so that fewer are kept open and a sweep takes more CPU",
			Mend: "give the agent more memory and set --cgroup.max-open-files, or boot a kernel with pages of 4 KiB"}
	}
	return ok("%s", found)
}

func checkSwap(e *examination) Result {
	content, err := os.ReadFile(filepath.Join(e.node.ProcFS, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return ok("the kernel has no swap")
	}
	if err != nil {
		return Result{Status: Degraded, Found: err.Error(),
			Cost: "it is not known whether pods can swap", Mend: "let the agent read proc"}
	}
	// A headline, then a line for each device.
	devices := strings.Count(strings.TrimSpace(string(content)), "\n")
	if devices == 0 {
		return ok("none, as is usual on Kubernetes nodes")
	}
	return ok("%d devices", devices)
}
