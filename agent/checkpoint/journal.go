// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A journal is two files that are written in turn, each a header and a
// payload, so that a write that was cut short by a kill leaves the one before
// whole. The page cache outlives the process: a killed agent loses nothing.
// Against a crash of the node itself the newest write is brought to the disk
// by Sync. This is cheaper, every second, than replacing one file atomically,
// which makes and removes an inode each time.
//
//	magic "SLWJ", version uint16, zero uint16, sequence uint64, length uint32, CRC-32C uint32 of all else
const (
	journalMagic   = "SLWJ"
	journalVersion = 1
	headerBytes    = 24
	// maxPayloadBytes bounds what a header may claim: 10,000 series take 2 MiB.
	maxPayloadBytes = 64 << 20
	// keptAside is how many unreadable files are kept for a human to look at.
	keptAside = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrLocked says that another agent uses the state directory.
var ErrLocked = errors.New("another slicewatch agent uses this state directory; give each its own --path.state")

// Journal keeps the newest payload that was written to it. It is for one
// goroutine, save Sync.
type Journal struct {
	dir      string
	name     string
	lock     *os.File
	files    [2]*os.File
	sequence uint64
	buf      []byte
}

// OpenJournal opens the journal of this name in dir, which it makes if need
// be, and returns the newest payload in it, nil if there is none. A file that
// cannot be read as one is moved aside, never deleted, and reported to logger;
// it is an error only if the directory cannot be used: then wrapped ErrLocked,
// or what the system said.
func OpenJournal(dir, name string, logger *slog.Logger) (*Journal, []byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the state directory: %w", err)
	}
	j := &Journal{dir: dir, name: name}
	if err := j.takeLock(); err != nil {
		return nil, nil, err
	}
	payload, err := j.load(logger)
	if err != nil {
		return nil, nil, errors.Join(err, j.Close())
	}
	return j, payload, nil
}

func (j *Journal) path(i int) string { return filepath.Join(j.dir, fmt.Sprintf("%s.%d", j.name, i)) }

func (j *Journal) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(j.dir, j.name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", j.dir, ErrLocked)
		}
		return fmt.Errorf("lock the state directory %s: %w", j.dir, err)
	}
	j.lock = lock
	return nil
}

func (j *Journal) load(logger *slog.Logger) ([]byte, error) {
	var newest []byte
	for i := range j.files {
		sequence, payload, err := readJournalFile(j.path(i))
		switch {
		case err == nil && sequence > j.sequence:
			j.sequence, newest = sequence, payload
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			aside := setAside(j.path(i))
			logger.Warn("a state file could not be read and was set aside; the other one or an empty start takes its place",
				"file", j.path(i), "aside", aside, "reason", err)
		}
		file, err := os.OpenFile(j.path(i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the state file: %w", err)
		}
		j.files[i] = file
	}
	return newest, nil
}

func readJournalFile(path string) (sequence uint64, payload []byte, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	if len(raw) == 0 { // made, never written to
		return 0, nil, nil
	}
	return parseJournal(raw)
}

// parseJournal returns what one file of a journal holds. Bytes after the
// payload are left from an earlier, longer one.
func parseJournal(raw []byte) (sequence uint64, payload []byte, err error) {
	if len(raw) < headerBytes || string(raw[:4]) != journalMagic {
		return 0, nil, errors.New("not a slicewatch state file")
	}
	if version := binary.LittleEndian.Uint16(raw[4:]); version != journalVersion {
		return 0, nil, fmt.Errorf("written by another version of slicewatch: format %d, this one reads %d", version, journalVersion)
	}
	length := binary.LittleEndian.Uint32(raw[16:])
	if length > maxPayloadBytes || int(length) > len(raw)-headerBytes {
		return 0, nil, fmt.Errorf("cut short: %d bytes of %d", len(raw)-headerBytes, length)
	}
	payload = raw[headerBytes : headerBytes+int(length)]
	if sum := checksum(raw[:20], payload); sum != binary.LittleEndian.Uint32(raw[20:]) {
		return 0, nil, errors.New("its checksum is wrong")
	}
	return binary.LittleEndian.Uint64(raw[8:]), payload, nil
}

func checksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, payload)
}

// Write makes the payload that fill appends to its argument the newest one.
// When it returns, the payload outlives the process.
func (j *Journal) Write(fill func([]byte) []byte) error {
	if cap(j.buf) < headerBytes {
		j.buf = make([]byte, headerBytes, 64<<10)
	}
	j.buf = fill(j.buf[:headerBytes])
	payload := j.buf[headerBytes:]
	if len(payload) > maxPayloadBytes {
		return fmt.Errorf("write the state file: %d bytes are over the bound of %d", len(payload), maxPayloadBytes)
	}
	next := j.sequence + 1
	header := j.buf[:headerBytes]
	copy(header, journalMagic)
	binary.LittleEndian.PutUint16(header[4:], journalVersion)
	binary.LittleEndian.PutUint16(header[6:], 0)
	binary.LittleEndian.PutUint64(header[8:], next)
	binary.LittleEndian.PutUint32(header[16:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(header[20:], checksum(header[:20], payload))
	if _, err := j.files[next%2].WriteAt(j.buf, 0); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	j.sequence = next
	return nil
}

// Sync brings what was written to the disk. It may take long and be called
// beside Write.
func (j *Journal) Sync() error {
	for _, file := range j.files {
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return fmt.Errorf("sync %s: %w", file.Name(), err)
		}
	}
	return nil
}

// Reject sets both files aside, because their payload, though whole, could
// not be used, and starts empty.
func (j *Journal) Reject(reason error, logger *slog.Logger) error {
	for i, file := range j.files {
		if info, err := file.Stat(); err == nil && info.Size() > 0 {
			aside := setAside(j.path(i))
			logger.Warn("a state file could not be used and was set aside; what it kept starts anew", "file", j.path(i), "aside", aside, "reason", reason)
		}
		fresh, err := os.OpenFile(j.path(i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("open the state file: %w", err)
		}
		_ = file.Close()
		j.files[i] = fresh
	}
	return nil
}

// Close lets go of the files and of the directory.
func (j *Journal) Close() error {
	var errs []error
	for _, file := range append(j.files[:], j.lock) {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// setAside renames a file to a name of its own and removes the oldest of those
// beyond keptAside. It returns the new name, empty if that failed.
func setAside(path string) string {
	aside := fmt.Sprintf("%s.unreadable-%s", path, time.Now().UTC().Format("20060102T150405"))
	if os.Rename(path, aside) != nil {
		return ""
	}
	if old, err := filepath.Glob(path + ".unreadable-*"); err == nil && len(old) > keptAside {
		for _, name := range old[:len(old)-keptAside] { // Glob sorts
			_ = os.Remove(name)
		}
	}
	return aside
}
