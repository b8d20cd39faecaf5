// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/iterator"
)

// usualMend is for what a program's own error has no advice for.
const usualMend = "see the other checks; please report what is found here if it stays"

// checkProgram returns what became of one eBPF program when it was tried.
func checkProgram(e *examination, s bpf.Status) Result {
	result := Result{Check: "bpf-" + strings.ReplaceAll(s.Program, "_", "-")}
	u, explained := errors.AsType[*bpf.Unavailable](s.Err)
	switch {
	case explained && u.Reason == bpf.SwitchedOff:
		result.Status, result.Found = Skipped, "switched off (--bpf=off)"
	case e.rootErr != nil:
		result.Status, result.Found = Skipped, "not tried, as there is no cgroup v2 to try it on"
	case s.Err == nil:
		result.Status, result.Found = OK, s.How
	default:
		result.Status, result.Cost, result.Mend = Degraded, s.Without, usualMend
		result.Found = s.Err.Error()
		if explained {
			result.Found = u.Cause()
			result.Mend = cmp.Or(u.Mend(), usualMend)
		}
		if s.Up() {
			result.Found = s.How + ", but " + result.Found
		}
	}
	return result
}

// iteratorWorks says whether cgroups are read without their files.
func (e *examination) iteratorWorks() bool {
	for _, s := range e.node.Programs {
		if s.Program == iterator.Name {
			return s.Up()
		}
	}
	return false
}

// wantsPrograms says whether there is a program that is not switched off.
func (e *examination) wantsPrograms() bool {
	for _, s := range e.node.Programs {
		if u, ok := errors.AsType[*bpf.Unavailable](s.Err); !ok || u.Reason != bpf.SwitchedOff {
			return true
		}
	}
	return false
}

func checkBTF(e *examination) Result {
	name := filepath.Join(e.node.SysFS, "kernel", "btf", "vmlinux")
	info, err := os.Stat(name)
	switch {
	case err == nil:
		return ok("%d KiB", info.Size()>>10)
	case !e.wantsPrograms():
		return ok("none, and eBPF is switched off")
	case errors.Is(err, fs.ErrNotExist):
		return Result{Status: Degraded, Found: "none", Cost: "no eBPF program can be used",
			Mend: (&bpf.Unavailable{Reason: bpf.NoBTF}).Mend()}
	}
	return Result{Status: Degraded, Found: err.Error(), Cost: "no eBPF program can be used", Mend: "let the agent read " + name}
}

// Capability numbers of linux/capability.h.
const (
	capSysAdmin = 21
	capPerfmon  = 38
	capBPF      = 39
)

func checkCapabilities(e *examination) Result {
	var have []string
	for _, c := range [...]struct {
		bit  uint
		name string
	}{{capSysAdmin, "SYS_ADMIN"}, {capPerfmon, "PERFMON"}, {capBPF, "BPF"}} {
		if e.node.System.Capabilities>>c.bit&1 == 1 {
			have = append(have, c.name)
		}
	}
	found := cmp.Or(strings.Join(have, ", "), "none for eBPF")
	const admin, both = 1 << capSysAdmin, 1<<capPerfmon | 1<<capBPF
	if held := e.node.System.Capabilities; held&admin == 0 && held&both != both && e.wantsPrograms() {
		return Result{Status: Degraded, Found: found, Cost: "no eBPF program can be used",
			Mend: "give the agent the capabilities BPF and PERFMON (in a pod: securityContext.capabilities.add)"}
	}
	return ok("%s", found)
}
