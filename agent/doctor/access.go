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

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

// checkProcesses looks at the first container process that it finds, as the
// agent does to learn about OOM scores and start times.
func checkProcesses(e *examination) Result {
	const cost = "no OOM scores, no start times and no process counts of containers"
	const mend = "in a pod set hostPID: true; with --path.procfs give the host's proc"
	pid, err := e.anyProcess()
	switch {
	case err != nil:
		return Result{Status: Degraded, Found: err.Error(), Cost: cost, Mend: "let the agent read cgroup.procs (run as root)"}
	case pid == "":
		return skipped("no container has a process")
	case pid == "0":
		// cgroup.procs shows 0 for what is outside the reader's PID namespace.
		return Result{Status: Degraded, Found: "containers' processes are in a PID namespace that cannot be seen", Cost: cost, Mend: mend}
	}
	adj := filepath.Join(e.node.ProcFS, pid, "oom_score_adj")
	switch _, err := os.ReadFile(adj); {
	case errors.Is(err, fs.ErrNotExist):
		return Result{Status: Degraded, Found: fmt.Sprintf("%s does not show process %s of a container", e.node.ProcFS, pid), Cost: cost, Mend: mend}
	case err != nil:
		return Result{Status: Degraded, Found: err.Error(), Cost: cost, Mend: "run as root, and mount proc without hidepid"}
	}
	return ok("containers' processes and their OOM scores can be read")
}

// anyProcess returns the PID of a process of some container, "" if there is
// none. A container that vanishes meanwhile has none.
func (e *examination) anyProcess() (string, error) {
	for _, c := range e.cgroups {
		if c.Level != cgroupfs.LevelContainer {
			continue
		}
		pids, err := words(filepath.Join(e.node.CgroupFS, c.Path, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return "", err
		}
		if len(pids) > 0 {
			return pids[0], nil
		}
	}
	return "", nil
}

// checkState looks at the directory itself or, as the agent makes it if it is
// not there, at the nearest one above it that is.
func checkState(e *examination) Result {
	const cost = "counters start again from 0 when the agent restarts"
	dir := e.node.State
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	mend := "let the agent write to it, or give another directory with --path.state"
	switch {
	case err != nil:
		return Result{Status: Degraded, Found: err.Error(), Cost: cost, Mend: mend}
	case !info.IsDir():
		return Result{Status: Degraded, Found: dir + " is not a directory", Cost: cost, Mend: mend}
	}
	if err := e.node.System.Writable(dir); err != nil {
		return Result{Status: Degraded, Found: fmt.Sprintf("cannot write to %s: %v", dir, err), Cost: cost, Mend: mend}
	}
	if e.node.System.OnOverlay(dir) {
		return Result{Status: Degraded, Found: dir + " is inside the container and goes with it", Cost: cost,
			Mend: "mount a hostPath volume at " + e.node.State}
	}
	if dir != e.node.State {
		return ok("%s is not there yet and can be made", e.node.State)
	}
	return ok("%s can be written to", dir)
}

// sampledFiles is how many control files of a cgroup are read at every sweep
// and therefore kept open; settings are read through short-lived descriptors.
func sampledFiles() int {
	files := make(map[string]struct{})
	for f := range cgroupfs.NumFields {
		if info := f.Info(); !info.Setting {
			files[info.File] = struct{}{}
		}
	}
	return len(files)
}

func checkOpenFiles(e *examination) Result {
	if !e.found {
		return skipped(noKubepods)
	}
	system := e.node.System
	kept, err := system.KeptFiles(e.node.CgroupFS, e.node.MaxOpenFiles)
	if err != nil {
		return Result{Status: Failing, Found: err.Error(), Cost: "nothing can be read", Mend: "mend cgroup-root first"}
	}
	needed := len(e.cgroups) * sampledFiles()
	if e.iteratorWorks() {
		needed = len(e.cgroups) // io.stat
	}
	limits := fmt.Sprintf("RLIMIT_NOFILE %d", system.OpenFiles)
	if needed <= kept {
		return ok("%s: %d can be kept open, %d are needed for %d cgroups", limits, kept, needed, len(e.cgroups))
	}
	return Result{
		Status: Degraded,
		Found:  fmt.Sprintf("%s: %d can be kept open, %d cgroups need %d", limits, kept, len(e.cgroups), needed),
		Cost:   "the rest is opened anew at every sweep, which costs CPU; nothing is lost",
		Mend:   fmt.Sprintf("--cgroup.max-open-files=%d, and a hard limit on open files (systemd: LimitNOFILE) of twice that", needed),
	}
}

func checkInotify(e *examination) Result {
	if !e.found {
		return skipped(noKubepods)
	}
	const cost = "directories without a watch are listed at every sweep, which costs CPU; nothing is lost"
	dir := filepath.Join(e.node.ProcFS, "sys", "fs", "inotify")
	limits := make(map[string]int)
	for _, name := range [...]string{"max_user_watches", "max_user_instances"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return Result{Status: Degraded, Found: err.Error(), Cost: cost, Mend: "let the agent read proc"}
		}
		limit, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			return Result{Status: Degraded, Found: fmt.Sprintf("%s/%s: %v", dir, name, err), Cost: cost, Mend: "give the host's proc with --path.procfs"}
		}
		limits[name] = limit
	}
	found := fmt.Sprintf("%d watches and %d instances per user, %d watches are needed",
		limits["max_user_watches"], limits["max_user_instances"], len(e.cgroups))
	switch {
	case limits["max_user_watches"] < len(e.cgroups):
		return Result{Status: Degraded, Found: found, Cost: cost,
			Mend: fmt.Sprintf("sysctl fs.inotify.max_user_watches=%d or more, as other programs need some too", 2*len(e.cgroups))}
	case limits["max_user_instances"] < 1:
		return Result{Status: Degraded, Found: found, Cost: cost, Mend: "sysctl fs.inotify.max_user_instances=128"}
	}
	return ok("%s", found)
}
