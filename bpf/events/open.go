// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/slicewatch/slicewatch/bpf"
)

// defaultRingBytes has room for more than a thousand deaths.
const defaultRingBytes = 512 << 10

// Config is what a Reader can be told. The zero value is usable.
type Config struct {
	// RingBytes is the size of the ring, rounded up to a power of two of at
	// least a page. 0: 512 KiB. Births and deaths leave a quarter of it to OOM
	// kills.
	RingBytes int
}

// Down returns the state of the programs where none could be loaded, and why.
func Down(err error) []bpf.Status {
	return []bpf.Status{
		{Program: Lifecycle, Err: err, Without: "containers that live for less than a second may be missed, and what ended ones used last"},
		{Program: OOM, Err: err, Without: "OOM kills are taken from memory.events: which process was killed is not known, and not always by which limit"},
	}
}

// attached are the programs of one source.
type attached struct {
	links    []link.Link // a link that nothing refers to would be closed
	programs []*ebpf.Program
	hooks    []string
}

// loader loads the programs one by one, so that each can fail by itself, with
// the maps in common.
type loader struct {
	spec   *ebpf.CollectionSpec
	types  *btf.Spec
	maps   map[string]*ebpf.Map
	perCPU bool
	// Constants of the programs.
	cpus, lifecycleRoom, haveIncidents uint32
}

// Open loads and attaches the programs. What cannot be had is in Status; the
// error, an *bpf.Unavailable, says that nothing can. The Reader must be closed.
func Open(cfg Config) (*Reader, error) {
	l, err := newLoader(cfg)
	if err != nil {
		return nil, bpf.Explain("events", err)
	}
	r := &Reader{
		wake: make(chan struct{}, 1), drained: make(chan struct{}, 1), maps: l.maps,
		decoder: decoder{pageBytes: uint64(os.Getpagesize())},
		status:  Down(nil),
	}
	if err := r.openRing(); err != nil {
		return nil, errors.Join(bpf.Explain("events", err), r.Close())
	}
	r.attachLifecycle(l)
	r.attachOOM(l)
	if !r.status[0].Up() && !r.status[1].Up() {
		return nil, errors.Join(r.status[0].Err, r.status[1].Err, r.Close())
	}
	return r, nil
}

func newLoader(cfg Config) (*loader, error) {
	types, err := bpf.KernelTypes("events")
	if err != nil {
		return nil, err
	}
	spec, err := loadProgram()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	// These variables are there for the sake of their types only.
	delete(spec.Maps, ".bss")
	for _, name := range []string{programVarBirthType, programVarDeathType, programVarLateType, programVarCpuTimesType, programVarKillType} {
		delete(spec.Variables, name)
	}
	size := ringSize(cfg.RingBytes)
	spec.Maps[programMapRing].MaxEntries = size
	l := &loader{
		spec: spec, types: types, maps: map[string]*ebpf.Map{},
		cpus: uint32(cpus), lifecycleRoom: size - size/4, perCPU: true,
	}
	for _, name := range []string{programMapRing, programMapTallies, programMapKubepods, programMapIncidents, programMapLastKills, programMapTold, programMapToldTimes} {
		m, err := ebpf.NewMap(spec.Maps[name])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the map %s: %w", name, err), closeMaps(l.maps))
		}
		l.maps[name] = m
	}
	return l, nil
}

func ringSize(asked int) uint32 {
	if asked <= 0 {
		asked = defaultRingBytes
	}
	size := os.Getpagesize()
	for size < asked && size < 1<<30 {
		size *= 2
	}
	return uint32(size)
}

// load loads one program, with what it can do with per-cpu variables if the
// kernel lets it.
func (l *loader) load(name string) (*ebpf.Program, error) {
	if l.perCPU {
		program, err := l.loadWith(name, true)
		if err == nil {
			return program, nil
		}
		without, err2 := l.loadWith(name, false)
		if err2 != nil {
			return nil, err
		}
		l.perCPU = false
		return without, nil
	}
	return l.loadWith(name, false)
}

func (l *loader) loadWith(name string, perCPU bool) (*ebpf.Program, error) {
	spec := l.spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	constants := map[string]uint32{
		programVarCpus: l.cpus, programVarHavePerCpu: 0,
		programVarHaveIncidents: l.haveIncidents, programVarLifecycleRoom: l.lifecycleRoom,
	}
	if perCPU {
		constants[programVarHavePerCpu] = 1
		if err := usePerCPU(spec.Programs[name].Instructions, l.types); err != nil {
			return nil, err
		}
	}
	for variable, value := range constants {
		if err := spec.Variables[variable].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", variable, err)
		}
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: l.maps, Programs: ebpf.ProgramOptions{KernelTypes: l.types},
	})
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), nil
}

// attachment is one program and how it is attached.
type attachment struct {
	program string
	hook    string // as an operator reads it
	attach  func(*ebpf.Program) (link.Link, error)
}

func rawTracepoint(program, tracepoint string) attachment {
	return attachment{program, "raw_tp/" + tracepoint, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: p})
	}}
}

// attach attaches all of the given, or none.
func (l *loader) attach(source string, to *attached, all ...attachment) error {
	var got attached
	for _, a := range all {
		program, err := l.load(a.program)
		if err == nil {
			got.programs = append(got.programs, program)
			var there link.Link
			if there, err = a.attach(program); err == nil {
				got.links = append(got.links, there)
				got.hooks = append(got.hooks, a.hook)
			}
		}
		if err != nil {
			return errors.Join(bpf.Explain(source, fmt.Errorf("%s: %w", a.hook, err)), got.close())
		}
	}
	to.links = append(to.links, got.links...)
	to.programs = append(to.programs, got.programs...)
	to.hooks = append(to.hooks, got.hooks...)
	return nil
}

func (a *attached) how() string { return strings.Join(a.hooks, ", ") }

func (a *attached) close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	for _, p := range a.programs {
		errs = append(errs, p.Close())
	}
	*a = attached{}
	return errors.Join(errs...)
}

func (r *Reader) attachLifecycle(l *loader) {
	status := &r.status[0]
	// Deaths first: a birth without its death would be waited for.
	status.Err = l.attach(Lifecycle, &r.lifecycle,
		rawTracepoint(programProgCgroupDied, "cgroup_rmdir"),
		rawTracepoint(programProgCgroupBorn, "cgroup_mkdir"))
	if status.Err == nil {
		status.Err = l.attach(Lifecycle, &r.lifecycle, rawTracepoint(programProgTaskGone, "sched_process_free"))
		if status.Err != nil {
			status.Without = "what the tasks of a container still use while its cgroup is being removed is not counted: a thousandth of a short one's CPU time"
		}
	}
	status.How = r.lifecycle.how()
}

// attachOOM attaches to the function that decides, which knows the limit,
// where the kernel lets it, and to the tracepoint that each victim passes.
func (r *Reader) attachOOM(l *loader) {
	status := &r.status[1]
	err := l.attach(OOM, &r.oom,
		attachment{programProgOomBegins, "fentry/oom_kill_process", tracing},
		attachment{programProgOomEnds, "fexit/oom_kill_process", tracing})
	if err != nil {
		second := l.attach(OOM, &r.oom,
			attachment{programProgOomBeginsKprobe, "kprobe/oom_kill_process", kprobe},
			attachment{programProgOomEndsKprobe, "kretprobe/oom_kill_process", kretprobe})
		if second == nil {
			err = nil
		} else {
			err = second // what stands in the way of the last resort can be mended
		}
	}
	if err == nil {
		l.haveIncidents = 1
	}
	victims := l.attach(OOM, &r.oom, rawTracepoint(programProgOomVictim, "mark_victim"))
	if victims != nil {
		status.Err = errors.Join(victims, r.oom.close())
		return
	}
	status.How, status.Err = r.oom.how(), err
	if err != nil {
		status.Without = "the killed processes are known, but not which limit was hit: that is taken from memory.events.local where it can be told"
	}
}

func tracing(p *ebpf.Program) (link.Link, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func kprobe(p *ebpf.Program) (link.Link, error) { return link.Kprobe("oom_kill_process", p, nil) }

func kretprobe(p *ebpf.Program) (link.Link, error) { return link.Kretprobe("oom_kill_process", p, nil) }

func (r *Reader) openRing() error {
	ring, err := ringbuf.NewReader(r.maps[programMapRing])
	if err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	r.ring = ring
	tallies, err := r.maps[programMapTallies].Memory()
	if err != nil {
		return fmt.Errorf("map the tallies: %w", err)
	}
	r.tallies = tallies
	return nil
}

func closeMaps(maps map[string]*ebpf.Map) error {
	var errs []error
	for _, m := range maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
