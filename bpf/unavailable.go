// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Reason is why a program cannot be used.
type Reason string

// The reasons.
const (
	// SwitchedOff: the operator does not want eBPF.
	SwitchedOff Reason = "switched off"
	// NoBTF: the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF).
	NoBTF Reason = "no type information"
	// NoPermission: CAP_BPF or CAP_PERFMON is missing, or the kernel is locked
	// down.
	NoPermission Reason = "no permission"
	// Paranoid: kernel.perf_event_paranoid keeps even CAP_PERFMON from kprobes
	// (Debian's and Ubuntu's level 3).
	Paranoid Reason = "perf events are restricted"
	// HookMissing: the kernel lacks the function, tracepoint or type that the
	// program needs.
	HookMissing Reason = "hook missing"
	// NotSupported: the kernel has no such kind of program, map or attachment.
	NotSupported Reason = "not supported by this kernel"
	// TooNew: the kernel does not keep any more what the program reads.
	TooNew Reason = "kernel too new"
	// Refused: the verifier does not accept the program.
	Refused Reason = "refused by the verifier"
	// NoMemory: the kernel could not provide memory for programs or maps.
	NoMemory Reason = "no memory"
	// Failed: anything else.
	Failed Reason = "failed"
)

// Unavailable says that a program cannot be used and why.
type Unavailable struct {
	Program string
	Reason  Reason
	Err     error // the cause; may be nil
}

// Error names the program, the reason, the cause and the mend.
func (u *Unavailable) Error() string {
	text := fmt.Sprintf("eBPF program %s: %s", u.Program, u.Cause())
	if mend := u.Mend(); mend != "" {
		text += "; " + mend
	}
	return text
}

// Cause returns the reason and what lies behind it.
func (u *Unavailable) Cause() string {
	if u.Err == nil {
		return string(u.Reason)
	}
	return fmt.Sprintf("%s: %v", u.Reason, u.Err)
}

// Unwrap returns the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

// Mend returns what an operator can do about it, or "".
func (u *Unavailable) Mend() string {
	switch u.Reason {
	case SwitchedOff:
		return "set --bpf=auto to use it"
	case NoBTF:
		return "use a kernel with CONFIG_DEBUG_INFO_BTF=y (there is a file /sys/kernel/btf/vmlinux then)"
	case NoPermission:
		return "give the agent the capabilities BPF and PERFMON; a locked down kernel (confidentiality mode) allows no such program at all"
	case Paranoid:
		return "set kernel.perf_event_paranoid to 2 or less, or give the agent the capability SYS_ADMIN"
	case HookMissing, NotSupported:
		return "a newer kernel may have it"
	case TooNew:
		return "a newer slicewatch may know where to read it"
	case NoMemory:
		return "raise the agent's memory limit"
	}
	return ""
}

// errNotSupported is the kernel's ENOTSUPP, which is no errno of POSIX.
const errNotSupported = syscall.Errno(524)

// Explain turns what the loading or attaching of a program returned into an
// *Unavailable that wraps it. nil and what is an *Unavailable already stay as
// they are.
func Explain(program string, err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*Unavailable](err); known {
		return err
	}
	return &Unavailable{Program: program, Reason: reasonOf(err), Err: err}
}

// reasonOf classifies what cilium/ebpf and the kernel return.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, unix.EPERM):
		// Before the verifier: without CAP_PERFMON it refuses with EPERM and a log.
		return NoPermission
	case errors.Is(err, btf.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return HookMissing
	case isRefusal(err):
		return Refused
	case errors.Is(err, unix.EACCES):
		if _, file := errors.AsType[*fs.PathError](err); file {
			return NoPermission
		}
		// bpf(2) says EPERM; EACCES without a verifier's log is perf_event_open(2).
		return Paranoid
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, errNotSupported),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return NotSupported
	case errors.Is(err, unix.ENOMEM):
		return NoMemory
	}
	return Failed
}

func isRefusal(err error) bool {
	_, refused := errors.AsType[*ebpf.VerifierError](err)
	return refused
}

// KernelTypes returns the running kernel's description of its types. The error
// is an *Unavailable for the given program.
func KernelTypes(program string) (*btf.Spec, error) {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		reason := NoBTF
		if errors.Is(err, fs.ErrPermission) {
			reason = NoPermission
		}
		return nil, &Unavailable{Program: program, Reason: reason, Err: err}
	}
	return types, nil
}

// HasField says whether a struct of the kernel is there and has a field of its own
// (not of an unnamed one in it).
func HasField(types *btf.Spec, structName, field string) bool {
	var found *btf.Struct
	if types.TypeByName(structName, &found) != nil {
		return false
	}
	return slices.ContainsFunc(found.Members, func(m btf.Member) bool { return m.Name == field })
}
