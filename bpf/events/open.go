// SPDX-License-Identifier: Apache-2.0

package events

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
)

// globals is the map of the programs' variables.
const globals = ".bss"

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
	// lacking is why one of them does not see what each CPU counts; nil: all do.
	lacking error
}

// loader loads the programs one by one, so that each can fail by itself, with
// the maps in common.
type loader struct {
	spec  *ebpf.CollectionSpec
	types *btf.Spec
	maps  map[string]*ebpf.Map
	// perCPU is the kernel's variable by which each CPU's memory is found.
	perCPU string
	// unread is where among the globals the failed reads are counted.
	unread uint32
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
	return l.open()
}

// open attaches what there is; the maps are the Reader's from then on.
func (l *loader) open() (*Reader, error) {
	r := &Reader{
		wake: make(chan struct{}, 1), drained: make(chan struct{}, 1), maps: l.maps,
		decoder: decoder{pageBytes: uint64(os.Getpagesize())}, unreadAt: int64(l.unread),
		status: Down(nil),
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
	for _, name := range []string{programVarBirthType, programVarDeathType, programVarLateType, programVarCpuTimesType, programVarVictimType, programVarKillType} {
		delete(spec.Variables, name)
	}
	unread := spec.Variables[programVarUnread].Offset
	delete(spec.Variables, programVarUnread) // all programs have it in common
	spec.Maps[globals].Flags |= unix.BPF_F_MMAPABLE
	size := ringSize(cfg.RingBytes)
	spec.Maps[programMapRing].MaxEntries = size
	l := &loader{
		spec: spec, types: types, maps: map[string]*ebpf.Map{},
		cpus: uint32(cpus), lifecycleRoom: size - size/4, perCPU: perCPUVariable, unread: unread,
	}
	for _, name := range []string{programMapRing, programMapTallies, programMapKubepods, programMapIncidents, programMapLastKills, programMapTold, programMapToldTimes, programMapLateLost, globals} {
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

// load loads one program, with what each CPU counts if the kernel lets it: lacking
// is why it does not.
func (l *loader) load(name string) (program *ebpf.Program, lacking, err error) {
	program, lacking = l.loadWith(name, true)
	if lacking != nil {
		program, err = l.loadWith(name, false)
	}
	return program, lacking, err
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
		if err := usePerCPU(spec.Programs[name].Instructions, l.types, l.perCPU); err != nil {
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
		program, lacking, err := l.load(a.program)
		if err == nil {
			got.lacking = cmp.Or(got.lacking, lacking)
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
	to.lacking = cmp.Or(to.lacking, got.lacking)
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
		if err := l.attach(Lifecycle, &r.lifecycle, rawTracepoint(programProgTaskGone, "sched_process_free")); err != nil {
			partly(status, err, "what the tasks of a container still use while its cgroup is being removed is not counted: a thousandth of a short one's CPU time")
		}
	}
	status.How = r.lifecycle.how()
	if status.Up() {
		lackCounters(status, r.lifecycle.lacking, bpf.HasField(l.types, "task_group", "se"))
	}
}

// lackCounters says of the lifecycle's programs that they do not see what each CPU
// counts. Where the scheduler has the CPU time of groups (groupTime), that stands
// in, and a kernel that does not know where the counters are is none to mend.
func lackCounters(status *bpf.Status, lacking error, groupTime bool) {
	if lacking == nil {
		return
	}
	err := bpf.Explain(Lifecycle, fmt.Errorf("read what each CPU counts: %w", lacking))
	u, _ := errors.AsType[*bpf.Unavailable](err)
	switch {
	case !groupTime:
		partly(status, err, "what a container used of the CPU after the last sweep is not counted when it ends")
	case u.Reason != bpf.HookMissing:
		partly(status, err, "how the last CPU time of an ended container divides into user and system is a guess from what came before")
	default:
		status.How += ", CPU time by the scheduler"
	}
}

// partly says that a source gives less than it could.
func partly(status *bpf.Status, err error, without string) {
	if status.Err != nil {
		without = status.Without + "; " + without
	}
	status.Err, status.Without = errors.Join(status.Err, err), without
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
	status.How = r.oom.how()
	if err != nil {
		partly(status, err, "the killed processes are known, but not which limit was hit: that is taken from memory.events.local where it can be told")
	}
	if r.oom.lacking != nil && !bpf.HasField(l.types, "mm_rss_stat", "count") { // as up to 6.1, where no CPU counts for itself
		partly(status, bpf.Explain(OOM, fmt.Errorf("read what each CPU counts: %w", r.oom.lacking)),
			"the memory of killed processes is told without what each CPU had not added to it yet")
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
	if r.globals, err = r.maps[globals].Memory(); err != nil {
		return fmt.Errorf("map the globals: %w", err)
	}
	return nil
}

func closeMaps(maps map[string]*ebpf.Map) error {
	var errs []error
	for _, m := range maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
