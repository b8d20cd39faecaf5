// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrGone says that a cgroup vanished before or while it was read (ENOENT,
// ENODEV), or that another cgroup has its path by now. That is normal: there is
// nothing to log.
var ErrGone = errors.New("cgroup is gone")

// FileReaderConfig configures a FileReader. The zero value suits a node.
type FileReaderConfig struct {
	// MaxOpen bounds the descriptors that are kept open. 0 stands for a number
	// that suits the process's limit on open files and the page size. A higher
	// one than that limit allows is lowered.
	MaxOpen int
	// SettingsEvery says that the files of settings (FieldInfo.Setting) are read
	// every so many reads of a cgroup even if nobody said that they changed.
	// 0 stands for 30.
	SettingsEvery int
	// Skip is as for FileReader.Skip.
	Skip []string
}

const defaultSettingsEvery = 30

// FileReaderStats is what a FileReader tells about itself.
type FileReaderStats struct {
	OpenFiles  int    // descriptors that are kept open now, that of the root left out
	MaxOpen    int    // the bound on OpenFiles
	OpenedAnew uint64 // how often a file was opened for one read because the bound was reached
	ProcsCut   uint64 // how often Procs left processes out because of its bounds
}

// FileReader reads the control files of cgroups into Readings. It keeps the
// descriptors of the files that it reads every time: the caller says with
// Forget when a cgroup is no longer of interest. Reading through a kept
// descriptor costs a quarter of os.ReadFile and allocates nothing.
//
// A FileReader and everything that it returns is for one goroutine at a time.
type FileReader struct {
	rootDir       string
	rootFD        int
	files         []controlFile
	skip          []bool // by file
	all           bool   // what is skipped is read this time
	settingsEvery int
	cgroups       map[uint64]*cgroupFiles // by Cgroup.ID
	made          int                     // cgroups ever added, to stagger the reading of their settings
	budget        descriptorBudget
	openedAnew    uint64
	procsCut      uint64
	text          []byte // of the file just read
	problems      []error
	problemsCut   int

	// pread is unix.Pread but for tests: only a kernel that removes a cgroup
	// gives ENODEV.
	pread func(fd int, p []byte, offset int64) (int, error)
}

// cgroupFiles is what a FileReader keeps per cgroup.
type cgroupFiles struct {
	cgroup *Cgroup
	cpath  []byte // path relative to the root with a NUL byte behind it
	files  []openFile
	// untilSettings counts down the reads until the settings are due again.
	untilSettings int
	staggered     bool // see scheduleSettings
	// noQuota is true while cpu.max says "max". The kernel changes the file by
	// itself only where there is a quota, so that it is a setting until then.
	noQuota bool
}

// openFile is the state of one of a cgroup's control files.
type openFile struct {
	fd int32 // notOpen if there is no kept descriptor
	// absent is true for a file that could not be opened. It is tried again
	// when the settings are due: somebody may enable the controller.
	absent bool
}

const notOpen = -1

// NewFileReader returns a FileReader for the cgroups below rootDir, which is
// the mount point of cgroup2 or a recorded tree. The caller closes it.
func NewFileReader(rootDir string, cfg FileReaderConfig) (*FileReader, error) {
	if cfg.MaxOpen < 0 || cfg.SettingsEvery < 0 {
		return nil, fmt.Errorf("read cgroups below %s: MaxOpen is %d and SettingsEvery %d: neither may be negative",
			rootDir, cfg.MaxOpen, cfg.SettingsEvery)
	}
	if cfg.SettingsEvery == 0 {
		cfg.SettingsEvery = defaultSettingsEvery
	}
	files := controlFiles()
	skip, err := skipped(files, cfg.Skip)
	if err != nil {
		return nil, fmt.Errorf("read cgroups below %s: %w", rootDir, err)
	}
	budget, err := newDescriptorBudget(cfg.MaxOpen)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(rootDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup root %s (is cgroup2 mounted there?): %w", rootDir, err)
	}
	return &FileReader{
		rootDir:       rootDir,
		rootFD:        fd,
		files:         files,
		skip:          skip,
		settingsEvery: cfg.SettingsEvery,
		cgroups:       make(map[uint64]*cgroupFiles),
		budget:        budget,
		text:          make([]byte, initialTextBytes),
		pread:         unix.Pread,
	}, nil
}

// SettingsChanged says that somebody wrote to a setting of c: the next Read
// reads the files of settings too. A cgroup that was never read is fine.
func (r *FileReader) SettingsChanged(c *Cgroup) {
	if known := r.cgroups[c.ID]; known != nil {
		known.untilSettings = 0
	}
}

// Forget closes what is open for c. A cgroup that was never read, or is
// forgotten already, is fine.
func (r *FileReader) Forget(c *Cgroup) {
	if known := r.cgroups[c.ID]; known != nil {
		r.closeKept(known)
		delete(r.cgroups, c.ID)
	}
}

// Stats returns what the FileReader holds now and has counted so far.
func (r *FileReader) Stats() FileReaderStats {
	return FileReaderStats{
		OpenFiles:  r.budget.open,
		MaxOpen:    r.budget.max,
		OpenedAnew: r.openedAnew,
		ProcsCut:   r.procsCut,
	}
}

// Close closes every descriptor. The FileReader cannot be used after it.
func (r *FileReader) Close() error {
	for _, known := range r.cgroups {
		r.closeKept(known)
	}
	clear(r.cgroups)
	if r.rootFD == notOpen {
		return nil
	}
	err := unix.Close(r.rootFD)
	r.rootFD = notOpen
	if err != nil {
		return fmt.Errorf("close cgroup root %s: %w", r.rootDir, err)
	}
	return nil
}

// filesOf returns what is kept for c, new if c was not read before.
func (r *FileReader) filesOf(c *Cgroup) (*cgroupFiles, error) {
	if known := r.cgroups[c.ID]; known != nil {
		if known.cgroup.Path == c.Path {
			return known, nil
		}
		// Only recorded trees can come to this: the kernel uses no id twice.
		r.Forget(known.cgroup)
	}
	cpath, err := relativePath(c.Path)
	if err != nil {
		return nil, err
	}
	known := &cgroupFiles{cgroup: c, cpath: cpath, files: make([]openFile, len(r.files))}
	for i := range known.files {
		known.files[i].fd = notOpen
	}
	r.cgroups[c.ID] = known
	return known, nil
}

// relativePath returns the path of a cgroup relative to the root, for openat.
func relativePath(path string) ([]byte, error) {
	if path == "/" {
		return []byte(".\x00"), nil
	}
	if !strings.HasPrefix(path, "/") || !filepath.IsLocal(path[1:]) || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("cgroup path %q is not absolute or leads out of the root", path)
	}
	return append([]byte(path[1:]), 0), nil
}

// closeKept closes the kept descriptors of one cgroup.
func (r *FileReader) closeKept(known *cgroupFiles) {
	for i := range known.files {
		r.closeFile(&known.files[i])
	}
}

// closeFile closes the kept descriptor of one file, if there is one.
func (r *FileReader) closeFile(file *openFile) {
	if file.fd == notOpen {
		return
	}
	closeReadOnly(int(file.fd))
	file.fd = notOpen
	r.budget.give()
}
