// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Name is the program's name, as in slicewatch_source_up{source="..."}.
const Name = "cgroup_iterator"

// Without is what the agent does instead where the program cannot be used.
const Without = "all cgroups are read through their files, which takes some twenty times the CPU and a dozen open files for each"

// Config configures a Reader. Root must be set.
type Config struct {
	Root string // where cgroup2 is mounted
	// MaxCgroups bounds the records. 0 stands for 32,768. Each has half a KiB of
	// kernel memory, which is taken in steps as the cgroups become more.
	MaxCgroups int
	// KernelTypes returns the kernel's types; nil stands for the running
	// kernel's own.
	KernelTypes func() (*btf.Spec, error)
}

const (
	defaultMaxCgroups = 32768
	// firstCapacity is enough for a full node of 250 pods with two containers.
	firstCapacity = 1024
)

// Stats is what a Reader tells about itself.
type Stats struct {
	Capacity int    // records for which there is room now
	Overflow uint64 // cgroups that a walk had no room for, over all walks
}

// Reader reads cgroups through the iterator. It is for one goroutine at a time.
type Reader struct {
	cfg       Config
	pageBytes uint64
	indexes   indexes
	loaded    *loaded
	link      int    // descriptor, -1 when not attached
	top       uint64 // the cgroup that link is for
	// given are the fields that this kernel's iterator gives, as far as is known.
	given [cgroupfs.NumFields]bool
	// unproven are fields whose place was guessed and that were 0 whenever they
	// were compared.
	unproven   []cgroupfs.Field
	untilCheck int // sweeps
	generation int // counts changes of given

	// The records of the last walk, by cgroup id. The order of a walk is always
	// the same, so that places is made anew only when cgroups came or went.
	swept  bool
	ids    []uint64
	places map[uint64]int32

	splits   map[uint64]cpuSplit
	overflow uint64
}

// Open loads the program and tries it on the root. The error is a
// *bpf.Unavailable. The caller closes the Reader.
func Open(cfg Config) (*Reader, error) {
	if cfg.MaxCgroups == 0 {
		cfg.MaxCgroups = defaultMaxCgroups
	}
	if cfg.KernelTypes == nil {
		cfg.KernelTypes = func() (*btf.Spec, error) { return bpf.KernelTypes(Name) }
	}
	r := &Reader{
		cfg: cfg, pageBytes: uint64(os.Getpagesize()), link: -1,
		places: map[uint64]int32{}, splits: map[uint64]cpuSplit{},
	}
	for f := range cgroupfs.NumFields {
		r.given[f] = f.Info().File != "io.stat"
	}
	if err := r.open(); err != nil {
		return nil, bpf.Explain(Name, errors.Join(err, r.Close()))
	}
	return r, nil
}

func (r *Reader) open() error {
	if err := r.load(min(firstCapacity, r.cfg.MaxCgroups)); err != nil {
		return err
	}
	for i, s := range statistics {
		r.given[s.field] = r.indexes.states[i] >= 0
	}
	for i, f := range events {
		r.given[f] = r.indexes.events[i] >= 0
	}
	// Attaching and opening have rights of their own.
	if err := r.walkOne(r.cfg.Root); err != nil {
		return err
	}
	if r.loaded.walk.Unflushed != 0 {
		return &bpf.Unavailable{Program: Name, Reason: bpf.HookMissing,
			Err: errors.New("the kernel has no function that brings the counts of all CPUs together (cgroup_rstat_flush, css_rstat_flush)")}
	}
	return nil
}

// load loads the program with room for so many records, in place of the one
// that is loaded.
func (r *Reader) load(capacity int) error {
	types, err := r.cfg.KernelTypes()
	if err != nil {
		return err
	}
	keys, err := memoryStatKeys(r.cfg.Root)
	if err != nil {
		return err
	}
	// Without indexes the statistics stay with the file; the rest works.
	r.indexes, _ = findIndexes(types, keys)
	fresh, err := load(types, r.indexes, capacity)
	if err != nil {
		return err
	}
	err = r.unload()
	r.loaded = fresh
	return err
}

func (r *Reader) unload() error {
	r.detach()
	if r.loaded == nil {
		return nil
	}
	old := r.loaded
	r.loaded = nil
	return old.close()
}

func (r *Reader) detach() {
	r.swept = false
	if r.link >= 0 {
		_ = unix.Close(r.link) // only memory is behind it
	}
	r.link, r.top = -1, 0
}

// Close gives everything back. The Reader cannot be used after it.
func (r *Reader) Close() error { return r.unload() }

// Sweep walks over top and all cgroups below it. Read gives what it found.
// Errors: cgroupfs.ErrGone, when top is not there any more, or a
// *bpf.Unavailable.
func (r *Reader) Sweep(top *cgroupfs.Cgroup) error {
	r.swept = false
	if r.link < 0 || r.top != top.ID {
		if err := r.attach(top); err != nil {
			return r.failed(err)
		}
	}
	if err := r.walk(); err != nil {
		return r.failed(err)
	}
	if r.untilCheck--; r.untilCheck < 0 {
		if err := r.check(top); err != nil {
			return r.failed(err)
		}
	}
	return nil
}

func (r *Reader) failed(err error) error {
	if errors.Is(err, cgroupfs.ErrGone) {
		return err
	}
	return bpf.Explain(Name, err)
}

// attach makes the iterator one over top.
func (r *Reader) attach(top *cgroupfs.Cgroup) error {
	r.detach()
	fd, err := r.openCgroup(top)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if r.link, err = attach(r.loaded.program, fd, descendants); err != nil {
		r.link = -1
		return err
	}
	r.top = top.ID
	r.untilCheck = 0
	return nil
}

// walk runs the iterator and indexes the records by cgroup.
func (r *Reader) walk() error {
	if err := run(r.link); err != nil {
		return err
	}
	if err := r.loaded.complete(); err != nil {
		return err
	}
	walk := r.loaded.walk
	r.overflow += walk.Overflow
	r.index(r.loaded.records[:min(int(walk.Records), len(r.loaded.records))])
	r.swept = true
	return nil
}

// index brings places up to date.
func (r *Reader) index(records []programRecord) {
	same := len(records) == len(r.ids)
	for i := 0; same && i < len(records); i++ {
		same = records[i].Id == r.ids[i]
	}
	if same {
		return
	}
	r.ids = r.ids[:0]
	clear(r.places)
	for i := range records {
		r.ids = append(r.ids, records[i].Id)
		r.places[records[i].Id] = int32(i)
	}
}

// Grow makes room for the cgroups that the last Sweep had none for. The next
// Sweep has them.
func (r *Reader) Grow() error {
	missed := r.Missed()
	if missed == 0 {
		return nil
	}
	needed := len(r.ids) + missed
	capacity := len(r.loaded.records)
	for capacity < needed {
		capacity *= 2
	}
	capacity = min(capacity, r.cfg.MaxCgroups)
	if capacity <= len(r.loaded.records) {
		return nil
	}
	if err := r.load(capacity); err != nil {
		return bpf.Explain(Name, fmt.Errorf("make room for %d cgroups: %w", capacity, err))
	}
	return nil
}

// Missed returns how many cgroups the last Sweep had no room for.
func (r *Reader) Missed() int {
	if !r.swept {
		return 0
	}
	return int(r.loaded.walk.Overflow)
}

// Read fills in what the last Sweep found of c: the fields that the iterator
// gives, absent where the cgroup has none. Other fields are left as they are. It
// returns false if the Sweep did not come by c.
func (r *Reader) Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) bool {
	if !r.swept {
		return false
	}
	place, ok := r.places[c.ID]
	if !ok {
		return false
	}
	r.fill(&r.loaded.records[place], into)
	return true
}

// ReadNow is Read for one cgroup, as it is now. It ends what Read gives until
// the next Sweep. Errors: as Sweep has.
func (r *Reader) ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	if err := r.walkOne(r.cfg.Root + c.Path); err != nil {
		return r.failed(err)
	}
	record := &r.loaded.records[0]
	if r.loaded.walk.Records != 1 || record.Id != c.ID {
		return gone(c)
	}
	r.fill(record, into)
	return nil
}

// walkOne puts the record of one directory's cgroup into the first place.
func (r *Reader) walkOne(dir string) error {
	r.swept = false
	fd, err := openDir(dir)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV):
		return fmt.Errorf("walk cgroup %s: %w", dir, cgroupfs.ErrGone)
	case err != nil:
		return fmt.Errorf("open cgroup %s: %w", dir, err)
	}
	defer unix.Close(fd)
	link, err := attach(r.loaded.program, fd, selfOnly)
	if err != nil {
		return err
	}
	defer unix.Close(link)
	if err := run(link); err != nil {
		return err
	}
	return r.loaded.complete()
}

// Forget drops what is kept for c.
func (r *Reader) Forget(c *cgroupfs.Cgroup) { delete(r.splits, c.ID) }

// Gives says whether f comes from the iterator, and not from its file.
func (r *Reader) Gives(f cgroupfs.Field) bool { return r.given[f] }

// Generation changes when what Gives says does.
func (r *Reader) Generation() int { return r.generation }

// Files returns the control files of which nothing needs to be read.
func (r *Reader) Files() []string {
	var files []string
	for f := range cgroupfs.NumFields {
		if file := f.Info().File; !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	for f := range cgroupfs.NumFields {
		if !r.given[f] {
			files = slices.DeleteFunc(files, func(file string) bool { return file == f.Info().File })
		}
	}
	return files
}

// Stats returns what the Reader holds now and has counted so far.
func (r *Reader) Stats() Stats { return Stats{Capacity: len(r.loaded.records), Overflow: r.overflow} }

// Status says how the program is attached.
func (r *Reader) Status() bpf.Status {
	return bpf.Status{Program: Name, How: "iter.s/cgroup", Without: Without}
}

// openCgroup opens the directory of a cgroup, if it is still that one's.
func (r *Reader) openCgroup(c *cgroupfs.Cgroup) (int, error) {
	fd, err := openDir(r.cfg.Root + c.Path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return -1, gone(c)
	}
	if err != nil {
		return -1, fmt.Errorf("open cgroup %s: %w", c.Path, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("stat cgroup %s: %w", c.Path, err)
	}
	if stat.Ino != c.ID {
		unix.Close(fd)
		return -1, gone(c)
	}
	return fd, nil
}

func gone(c *cgroupfs.Cgroup) error {
	return fmt.Errorf("read cgroup %s: %w", c.Path, cgroupfs.ErrGone)
}
