// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Read reads the control files of c into the Reading, which has to be the same
// one every time for this cgroup: the fields of files that are not due are left
// as they are. Due are the files that change by themselves, and at the first
// read, after SettingsChanged and every SettingsEvery-th time also the files of
// settings and those that did not exist. cpu.stat comes first; take the time
// just before Read for rates.
//
// A file that the kernel does not have here (no such controller, an older
// kernel, PSI switched off) makes its fields absent and is no error. Errors:
//   - ErrGone: nothing is open any more for c; the Reading holds what was read
//     last, which may be a mixture of this read and the one before.
//   - *ParseError, or an error of the system that wraps fs.ErrPermission or
//     another errno: the fields of that file are absent, all other files were
//     read. Several are joined, of many only the first few. A file that may not be
//     opened is tried, and so reported, only when the settings are due.
func (r *FileReader) Read(c *Cgroup, into *Reading) error {
	known, err := r.filesOf(c)
	if err != nil {
		return fmt.Errorf("read cgroup: %w", err)
	}
	settingsDue := known.untilSettings == 0
	dirFD := notOpen
	for i := range r.files {
		if !r.due(known, i, settingsDue) {
			continue
		}
		if err = r.readFile(known, i, &dirFD, into); err != nil {
			break
		}
	}
	if dirFD != notOpen {
		closeReadOnly(dirFD)
	}
	if err != nil {
		r.Forget(c)
		_ = r.takeProblems() // of no interest: the cgroup is gone
		return err
	}
	r.scheduleSettings(known, settingsDue)
	return r.takeProblems()
}

// due says whether file i of the cgroup is to be read this time.
func (r *FileReader) due(known *cgroupFiles, i int, settingsDue bool) bool {
	if r.skip[i] && !r.all {
		return false
	}
	if settingsDue {
		return true
	}
	file := &r.files[i]
	return file.hot && !known.files[i].absent && !(file.name == cpuMax && known.noQuota)
}

// scheduleSettings counts one read. All cgroups are first read in one sweep;
// to spread the later readings of settings over the sweeps, each cgroup's
// second one comes earlier by a number of reads of its own.
func (r *FileReader) scheduleSettings(known *cgroupFiles, wereDue bool) {
	switch {
	case !wereDue:
		known.untilSettings--
	case !known.staggered:
		known.staggered = true
		known.untilSettings = r.settingsEvery - 1 - r.made%r.settingsEvery
		r.made++
	default:
		known.untilSettings = r.settingsEvery - 1
	}
}

// readFile reads and parses file i of the cgroup. Its only error is ErrGone;
// others are noted. dirFD is the cgroup's directory once a file of
// this Read needed it: it is not kept, because with all hot files open it is
// needed every 30th time only, when several files share the one opening.
func (r *FileReader) readFile(known *cgroupFiles, i int, dirFD *int, into *Reading) error {
	file, state := &r.files[i], &known.files[i]
	state.absent = false
	fd := int(state.fd)
	if fd == notOpen {
		var err error
		if fd, err = r.openFile(known, file, dirFD); err != nil {
			return r.openFailed(known, i, err, into)
		}
	}
	text, err := r.readText(fd)
	var parseErr *ParseError
	if err == nil {
		parseErr = file.parse(file, text, into)
	}
	r.keepOrClose(known, i, fd, err == nil, into)
	switch {
	case err == nil && parseErr == nil:
	case err == nil:
		parseErr.Cgroup = known.cgroup.Path
		r.note(parseErr)
	case errors.Is(err, unix.ENODEV):
		// The file behind the descriptor was removed. Either the whole cgroup
		// was, or somebody disabled the controller, or PSI for this cgroup
		// (cgroup.pressure). While a cgroup is being removed its files go before its
		// directory, so the fields keep their last values this time, and the next
		// Read finds out which it was.
		return r.checkExists(known)
	default:
		return r.readFailed(known, i, err, into)
	}
	return nil
}

// keepOrClose decides what becomes of the descriptor of a file that was read.
func (r *FileReader) keepOrClose(known *cgroupFiles, i, fd int, wasRead bool, into *Reading) {
	file, state := &r.files[i], &known.files[i]
	keep := file.hot && wasRead && !r.skip[i]
	if file.name == cpuMax && wasRead {
		quota, ok := into.Get(CPUQuota)
		known.noQuota = ok && quota == Unlimited
		keep = !known.noQuota && !r.skip[i]
	}
	switch {
	case state.fd != notOpen && !keep:
		r.closeFile(state)
	case state.fd != notOpen:
	case keep && r.budget.take():
		state.fd = int32(fd)
	default:
		if keep {
			r.openedAnew++
		}
		closeReadOnly(fd)
	}
}

// openFailed handles a file that could not be opened.
func (r *FileReader) openFailed(known *cgroupFiles, i int, err error, into *Reading) error {
	switch {
	case errors.Is(err, ErrGone):
		return err
	case errors.Is(err, unix.ENOENT):
		// The files of a cgroup vanish with it, and its counters must not seem to
		// vanish from a living one.
		if err := r.checkExists(known); err != nil {
			return err
		}
		known.files[i].absent = true
		r.files[i].unset(into)
		return nil
	}
	return r.readFailed(known, i, err, into)
}

// readFailed makes the fields of a file absent and notes the error, unless it
// is the kernel's way to say that the feature is switched off.
func (r *FileReader) readFailed(known *cgroupFiles, i int, err error, into *Reading) error {
	r.files[i].unset(into)
	if errors.Is(err, unix.EOPNOTSUPP) {
		// PSI switched off at boot, on kernels that still show its files.
		known.files[i].absent = true
		return nil
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		known.files[i].absent = true
	}
	r.note(fmt.Errorf("read %s of cgroup %s: %w", r.files[i].name, known.cgroup.Path, err))
	return nil
}

// maxProblems bounds the errors that one Read returns: a whole controller
// failing in the same way is told by a few of its files.
const maxProblems = 4

// note remembers an error for the end of this Read.
func (r *FileReader) note(err error) {
	if len(r.problems) == maxProblems {
		r.problemsCut++
		return
	}
	r.problems = append(r.problems, err)
}

// takeProblems returns what was noted during this Read and starts anew.
func (r *FileReader) takeProblems() error {
	if len(r.problems) == 0 {
		return nil
	}
	if r.problemsCut > 0 {
		r.problems = append(r.problems, fmt.Errorf("and %d more files of the same cgroup", r.problemsCut))
	}
	err := errors.Join(r.problems...)
	clear(r.problems)
	r.problems, r.problemsCut = r.problems[:0], 0
	return err
}
