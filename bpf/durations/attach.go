// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// pair are two programs at the entry and the return of one function.
type pair struct {
	way          string // how they are attached, for Status
	enter, leave string
	attach       func(c *ebpf.Collection, p pair, function string) ([]link.Link, error)
}

// attachTrampoline attaches by fentry and fexit, which the kernel has for this
// architecture or has not. The return comes first, so that no entry is left
// without it.
func attachTrampoline(c *ebpf.Collection, p pair, _ string) ([]link.Link, error) {
	return attachAll(
		func() (link.Link, error) {
			return link.AttachTracing(link.TracingOptions{Program: c.Programs[p.leave]})
		},
		func() (link.Link, error) {
			return link.AttachTracing(link.TracingOptions{Program: c.Programs[p.enter]})
		},
	)
}

// attachProbe attaches by kprobe and kretprobe, which a restricted
// perf_event_open may refuse.
func attachProbe(c *ebpf.Collection, p pair, function string) ([]link.Link, error) {
	return attachAll(
		func() (link.Link, error) { return link.Kretprobe(function, c.Programs[p.leave], nil) },
		func() (link.Link, error) { return link.Kprobe(function, c.Programs[p.enter], nil) },
	)
}

// attachRaw attaches to the tracepoints of the two names.
func attachRaw(c *ebpf.Collection, enter, leave, begin, end string) ([]link.Link, error) {
	at := func(tracepoint, program string) func() (link.Link, error) {
		return func() (link.Link, error) {
			return link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: c.Programs[program]})
		}
	}
	return attachAll(at(end, leave), at(begin, enter))
}

// attachAll returns all links, or the first error and none.
func attachAll(attach ...func() (link.Link, error)) ([]link.Link, error) {
	var links []link.Link
	for _, one := range attach {
		l, err := one()
		if err != nil {
			return nil, errors.Join(err, closeAll(links))
		}
		links = append(links, l)
	}
	return links, nil
}

func closeAll(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// load loads a collection with the named programs only.
func load(spec *ebpf.CollectionSpec, programs ...string) (*ebpf.Collection, error) {
	wanted := make(map[string]*ebpf.ProgramSpec, len(programs))
	for _, name := range programs {
		wanted[name] = spec.Programs[name]
	}
	spec = spec.Copy()
	spec.Programs = wanted
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", programs, err)
	}
	return c, nil
}
