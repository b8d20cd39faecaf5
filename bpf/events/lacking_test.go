// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

func reasonOf(err error) bpf.Reason {
	if u, ok := errors.AsType[*bpf.Unavailable](err); ok {
		return u.Reason
	}
	return ""
}

// That the CPUs' counters are not read must show where nothing stands in for them.
func TestLackingCountersAreTold(t *testing.T) {
	unknown, refused := error(unix.ENOENT), error(&ebpf.VerifierError{Cause: unix.E2BIG})
	earlier := errors.New("no tracepoint")
	tests := map[string]struct {
		lacking, before error
		groupTime       bool
		want            bpf.Reason
		without         string
	}{
		"all is there":                         {nil, nil, false, "", "all"},
		"the scheduler stands in":              {unknown, nil, true, "", "all"},
		"refused, and the scheduler stands in": {refused, nil, true, bpf.Refused, "user and system"},
		"nothing stands in":                    {unknown, nil, false, bpf.HookMissing, "after the last sweep"},
		"and something else is missing":        {refused, earlier, false, bpf.Refused, "all; what a container used"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := bpf.Status{Program: Lifecycle, How: "hooks", Without: "all", Err: test.before}
			lackCounters(&status, test.lacking, test.groupTime)
			if got := reasonOf(status.Err); got != test.want || !strings.Contains(status.Without, test.without) {
				t.Errorf("%+v, want the reason %q", status, test.want)
			}
			if test.before != nil && !errors.Is(status.Err, test.before) {
				t.Errorf("%v does not wrap %v", status.Err, test.before)
			}
			if status.Err != nil && !errors.Is(status.Err, test.lacking) {
				t.Errorf("%v does not wrap %v", status.Err, test.lacking)
			}
			if quiet := test.lacking != nil && test.want == ""; quiet != (status.How != "hooks") {
				t.Errorf("how: %q", status.How)
			}
		})
	}
}

// A kernel that does not know where the CPUs' counters are still tells what it can.
func TestWithoutTheCPUsCounters(t *testing.T) {
	treetest.Need(t)
	l, err := newLoader(Config{})
	if err != nil {
		t.Fatal(err)
	}
	l.perCPU = "no such variable"
	r := openFrom(t, l)
	lifecycle, oom := r.Status()[0], r.Status()[1]
	t.Logf("%+v", lifecycle)
	t.Logf("%+v", oom)
	if groupTime := bpf.HasField(l.types, "task_group", "se"); !lifecycle.Up() || groupTime != (lifecycle.Err == nil) || groupTime != strings.Contains(lifecycle.How, "scheduler") {
		t.Errorf("lifecycle: %+v; the scheduler knows groups' time: %t", lifecycle, groupTime)
	}
	// Up to 6.1 a process's memory is not counted by CPU.
	older := bpf.HasField(l.types, "mm_rss_stat", "count")
	if !oom.Up() || older != (oom.Err == nil) || !older && (reasonOf(oom.Err) != bpf.HookMissing || !strings.Contains(oom.Without, "memory of killed")) {
		t.Errorf("oom: %+v; an older kernel: %t", oom, older)
	}
}
