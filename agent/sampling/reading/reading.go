// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/bpf/iterator"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Files reads single cgroups; *cgroupfs.FileReader.
type Files interface {
	Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error
	ReadAll(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error
	Skip(names []string) error
	SettingsChanged(c *cgroupfs.Cgroup)
	Forget(c *cgroupfs.Cgroup)
	Procs(c *cgroupfs.Cgroup, into []int) ([]int, error)
	Stats() cgroupfs.FileReaderStats
}

// Iterator reads all cgroups at once; *iterator.Reader.
type Iterator interface {
	Sweep(top *cgroupfs.Cgroup) error
	Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) bool
	ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error
	Missed() int
	Grow() error
	Forget(c *cgroupfs.Cgroup)
	Files() []string
	Generation() int
	Close() error
}

// Config is what a Reader works with.
type Config struct {
	Files Files
	// Open opens the iterator; nil where none is wanted.
	Open func() (Iterator, error)
	// Log gets one line when the iterator goes and one when it comes back.
	Log *slog.Logger
}

// Reader is for one goroutine at a time.
type Reader struct {
	cfg      Config
	iterator Iterator // nil while there is none
	swept    bool     // the iterator has this sweep's values
	skipping bool     // files leaves out what the iterator gives
	// lazy says that of the files that change by themselves only io.stat is read.
	lazy       bool
	generation int
	calm       map[uint64]*calm // by cgroup id

	source  snapshot.Source
	retryAt time.Time
	pause   time.Duration // before the next attempt
	final   bool          // another attempt would end as the last one
}

// New returns a Reader and opens the iterator if one is wanted. Whether it is
// there, and why not, Err tells.
func New(cfg Config) *Reader {
	r := &Reader{cfg: cfg, calm: map[uint64]*calm{}}
	if cfg.Open != nil {
		r.source = snapshot.Source{Name: iterator.Name}
		r.open()
	}
	return r
}

// Err returns why there is no iterator, nil if there is one or none is wanted.
func (r *Reader) Err() error {
	if r.cfg.Open == nil || r.iterator != nil {
		return nil
	}
	return errors.New(r.source.Reason)
}

const (
	firstPause = 10 * time.Second
	lastPause  = 10 * time.Minute
)

func (r *Reader) open() {
	it, err := r.cfg.Open()
	if err == nil {
		r.iterator = it
		if err = r.skip(); err == nil {
			r.setSource(true, "")
			r.pause = 0
			return
		}
	}
	r.lose(err)
}

// lose goes over to the files alone.
func (r *Reader) lose(err error) {
	r.swept, r.skipping, r.lazy = false, false, false
	if r.iterator != nil {
		err = errors.Join(err, r.iterator.Close())
		r.iterator = nil
	}
	clear(r.calm)
	if skipErr := r.cfg.Files.Skip(nil); skipErr != nil {
		err = errors.Join(err, skipErr)
	}
	r.pause = min(max(firstPause, 2*r.pause), lastPause)
	r.retryAt = time.Now().Add(r.pause)
	r.final = isFinal(err)
	if r.source.Up || r.source.Since.IsZero() {
		r.cfg.Log.Warn("cgroups are read through their files", "reason", err, "costs", iterator.Without)
	}
	r.setSource(false, err.Error())
}

// isFinal says whether this kernel and this process's rights, which do not
// change, are what the iterator lacks.
func isFinal(err error) bool {
	u, ok := errors.AsType[*bpf.Unavailable](err)
	return ok && u.Reason != bpf.Failed && u.Reason != bpf.NoMemory
}

func (r *Reader) setSource(up bool, reason string) {
	if r.source.Since.IsZero() || r.source.Up != up {
		if up && !r.source.Since.IsZero() {
			r.cfg.Log.Info("cgroups are read through the eBPF iterator again")
		}
		r.source.Up, r.source.Since = up, time.Now()
	}
	r.source.Reason = reason
}

// skip makes the files leave out what the iterator gives.
func (r *Reader) skip() error {
	given := r.iterator.Files()
	if err := r.cfg.Files.Skip(given); err != nil {
		return fmt.Errorf("leave out the files that the iterator stands for: %w", err)
	}
	r.skipping, r.generation, r.lazy = true, r.iterator.Generation(), onlyIO(given)
	return nil
}

// Begin starts a sweep: one walk over kubepods, which may be nil while there is
// none. It returns how many cgroups the walk had no room for; those are read
// through their files, and the next walk has more room.
func (r *Reader) Begin(kubepods *cgroupfs.Cgroup) (missed int) {
	r.swept = false
	if r.cfg.Open == nil || kubepods == nil {
		return 0
	}
	if r.iterator == nil {
		if r.final || time.Now().Before(r.retryAt) {
			return 0
		}
		if r.open(); r.iterator == nil {
			return 0
		}
	}
	err := r.iterator.Grow()
	if err == nil {
		err = r.iterator.Sweep(kubepods)
	}
	switch {
	case errors.Is(err, cgroupfs.ErrGone):
		return 0
	case err == nil && r.generation != r.iterator.Generation():
		err = r.skip()
	}
	if err != nil {
		r.lose(err)
		return 0
	}
	r.swept = true
	return r.iterator.Missed()
}

// Method is what the cgroups are read through in this sweep: "bpf" or "files".
func (r *Reader) Method() string {
	if r.swept {
		return "bpf"
	}
	return "files"
}

// Read reads c as of this sweep. The Reading has to be the same one every time
// for this cgroup. Errors are those of cgroupfs.FileReader.Read.
func (r *Reader) Read(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	switch {
	case r.swept && r.iterator.Read(c, into):
		return r.readRest(c, into)
	case r.skipping:
		// It went, or kubepods did, or there was no room for it.
		return r.cfg.Files.ReadAll(c, into)
	}
	return r.cfg.Files.Read(c, into)
}

// ReadNow reads c between two sweeps. Errors are those of Read.
func (r *Reader) ReadNow(c *cgroupfs.Cgroup, into *cgroupfs.Reading) error {
	if r.iterator == nil {
		return r.cfg.Files.Read(c, into)
	}
	r.swept = false
	err := r.iterator.ReadNow(c, into)
	if err != nil && !errors.Is(err, cgroupfs.ErrGone) {
		r.lose(err)
		err = nil
	}
	if err != nil {
		return err
	}
	return r.cfg.Files.Read(c, into)
}

// SettingsChanged says that somebody wrote to a setting of c.
func (r *Reader) SettingsChanged(c *cgroupfs.Cgroup) { r.cfg.Files.SettingsChanged(c) }

// Forget drops what is kept for c.
func (r *Reader) Forget(c *cgroupfs.Cgroup) {
	r.cfg.Files.Forget(c)
	delete(r.calm, c.ID)
	if r.iterator != nil {
		r.iterator.Forget(c)
	}
}

// Procs is as cgroupfs.FileReader.Procs.
func (r *Reader) Procs(c *cgroupfs.Cgroup, into []int) ([]int, error) {
	return r.cfg.Files.Procs(c, into)
}

// Stats is as cgroupfs.FileReader.Stats.
func (r *Reader) Stats() cgroupfs.FileReaderStats { return r.cfg.Files.Stats() }

// AppendSource appends the iterator's source, if one is wanted.
func (r *Reader) AppendSource(to []snapshot.Source) []snapshot.Source {
	if r.cfg.Open == nil {
		return to
	}
	return append(to, r.source)
}

// Close gives the iterator back. The files are whoever's who made them.
func (r *Reader) Close() error {
	if r.iterator == nil {
		return nil
	}
	err := r.iterator.Close()
	r.iterator = nil
	return err
}
