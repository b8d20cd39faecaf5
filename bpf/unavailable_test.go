// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	tests := map[string]struct {
		err  error
		want Reason
	}{
		"no capability":              {fmt.Errorf("load program: %w", unix.EPERM), NoPermission},
		"no CAP_PERFMON":             {&ebpf.VerifierError{Cause: unix.EPERM}, NoPermission},
		"verifier":                   {&ebpf.VerifierError{Cause: unix.EACCES}, Refused},
		"verifier, another errno":    {&ebpf.VerifierError{Cause: unix.EINVAL}, Refused},
		"perf_event_paranoid":        {fmt.Errorf("opening perf event: %w", unix.EACCES), Paranoid},
		"tracefs not readable":       {&fs.PathError{Op: "open", Path: "/sys/kernel/tracing", Err: unix.EACCES}, NoPermission},
		"no such function":           {fmt.Errorf("attach: %w", btf.ErrNotFound), HookMissing},
		"no such symbol":             {fmt.Errorf("kprobe: %w", fs.ErrNotExist), HookMissing},
		"no trampolines":             {fmt.Errorf("attach fentry: %w", syscall.Errno(524)), NotSupported},
		"no such program type":       {fmt.Errorf("feature: %w", ebpf.ErrNotSupported), NotSupported},
		"no memory":                  {fmt.Errorf("map create: %w", unix.ENOMEM), NoMemory},
		"something else":             {errors.New("strange"), Failed},
		"an explanation stays as is": {fmt.Errorf("again: %w", &Unavailable{Program: "oom", Reason: NoBTF}), NoBTF},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Explain("oom", test.err)
			var unavailable *Unavailable
			if !errors.As(got, &unavailable) {
				t.Fatalf("Explain returned %T: %v", got, got)
			}
			if unavailable.Reason != test.want {
				t.Errorf("reason is %q, want %q", unavailable.Reason, test.want)
			}
			if !errors.Is(got, test.err) {
				t.Errorf("%v does not wrap the cause", got)
			}
		})
	}
	if err := Explain("oom", nil); err != nil {
		t.Errorf("nothing failed, but it is explained as %v", err)
	}
}

func TestUnavailableTellsTheMend(t *testing.T) {
	err := Explain("throttle", fmt.Errorf("attach: %w", unix.EACCES))
	for _, want := range []string{"throttle", "permission denied", "kernel.perf_event_paranoid"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
