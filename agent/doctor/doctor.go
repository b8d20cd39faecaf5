// SPDX-License-Identifier: Apache-2.0

// Package doctor tells what of slicewatch works on a node, what does not, why,
// and what to do about it. It owns the checks and the words in which they
// answer, as a table and as JSON. It only looks: it changes nothing on the
// node, and it must not know flags, Kubernetes' API or HTTP.
package doctor

import (
	"fmt"
	"slices"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Status is a check's verdict.
type Status string

// The verdicts.
const (
	OK       Status = "ok"
	Degraded Status = "degraded" // the agent works, something is missing
	Failing  Status = "failing"  // the agent does not work
	Skipped  Status = "skipped"  // there is nothing to look at
)

// Result is what one check found.
type Result struct {
	Check  string `json:"check"` // a short name, unique and stable
	Status Status `json:"status"`
	// Found is what is the case, in a few words.
	Found string `json:"found"`
	// Cost is what the user loses. Empty if OK.
	Cost string `json:"cost,omitempty"`
	// Mend is what the user can do. Empty if OK.
	Mend string `json:"mend,omitempty"`
}

// Node says where to look. All paths are needed but CgroupHint.
type Node struct {
	CgroupFS, ProcFS, SysFS, State string
	// CgroupHint says where kubepods is, as the agent was told.
	CgroupHint string
	// MaxOpenFiles is as in cgroupfs.FileReaderConfig.MaxOpen.
	MaxOpenFiles int
	// Programs are the eBPF programs that were tried, or why they were not.
	Programs []bpf.Status
	System   System
}

// check is one question to a node.
type check struct {
	name string
	run  func(*examination) Result
}

// checks lists every check in the order of the output: from what everything
// needs to what only one family needs.
func checks() []check {
	return []check{
		{"kernel", checkKernel},
		{"platform", checkPlatform},
		{"cgroup-root", checkRoot},
		{"kubepods", checkKubepods},
		{"controllers", checkControllers},
		{"pressure", checkPressure},
		{"pod-pressure", checkPodPressure},
		{"memory-peak", checkMemoryPeak},
		{"local-events", checkLocalEvents},
		{"cpu-burst", checkBurst},
		{"swap", checkSwap},
		{"processes", checkProcesses},
		{"state", checkState},
		{"open-files", checkOpenFiles},
		{"inotify", checkInotify},
		{"btf", checkBTF},
		{"capabilities", checkCapabilities},
	}
}

// Examine runs every check.
func Examine(node Node) []Result {
	e := newExamination(node)
	var results []Result
	for _, c := range checks() {
		result := c.run(e)
		result.Check = c.name
		results = append(results, result)
	}
	for _, status := range node.Programs {
		results = append(results, checkProgram(e, status))
	}
	return results
}

// Healthy says whether no check is failing.
func Healthy(results []Result) bool {
	for _, r := range results {
		if r.Status == Failing {
			return false
		}
	}
	return true
}

// examination is what the checks share: the node, and what was found below
// its cgroup root.
type examination struct {
	node     Node
	rootErr  error // of CheckRoot
	kubepods cgroupfs.Kubepods
	found    bool  // kubepods is there
	findErr  error // what kept the search from an answer
	cgroups  []*cgroupfs.Cgroup
}

func newExamination(node Node) *examination {
	e := &examination{node: node, rootErr: node.System.CheckRoot(node.CgroupFS)}
	e.kubepods, e.found, e.findErr = cgroupfs.FindKubepods(node.CgroupFS, node.CgroupHint)
	if e.found {
		e.cgroups, e.findErr = listCgroups(node)
	}
	return e
}

// listCgroups returns the cgroups that the agent would follow.
func listCgroups(node Node) ([]*cgroupfs.Cgroup, error) {
	tree, err := cgroupfs.NewTree(node.CgroupFS, cgroupfs.TreeConfig{Hint: node.CgroupHint})
	if err != nil {
		return nil, fmt.Errorf("look at the cgroups: %w", err)
	}
	defer tree.Close() // it holds nothing that could be lost
	if _, err := tree.Refresh(); err != nil {
		return nil, fmt.Errorf("look at the cgroups: %w", err)
	}
	return slices.Clone(tree.Cgroups()), nil // Close empties the slice
}

// count returns how many of the cgroups are at the level.
func (e *examination) count(level cgroupfs.Level) int {
	n := 0
	for _, c := range e.cgroups {
		if c.Level == level {
			n++
		}
	}
	return n
}

func ok(format string, args ...any) Result {
	return Result{Status: OK, Found: fmt.Sprintf(format, args...)}
}

// skipped is for a check that has nothing to look at: what is missing has its
// own failing check, and a second complaint about it would only distract.
func skipped(why string) Result { return Result{Status: Skipped, Found: why} }

const noKubepods = "there is no kubepods cgroup"
