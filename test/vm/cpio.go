// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// File types of a cpio header's mode, as in stat(2).
const (
	typeDir    = 0o040000
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeDevice = 0o020000
)

// cpioWriter writes the archive that the kernel unpacks as its first file
// system: format "newc" (Documentation/driver-api/early-userspace/
// buffer-format.rst). Parent directories are added where they are missing.
// Everything belongs to root and has no time, so equal input gives equal bytes.
type cpioWriter struct {
	out   *bufio.Writer
	inode uint32
	dirs  map[string]bool
	pos   int64
}

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{out: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true}}
}

// entry is one header; size is that of the data that follows.
type entry struct {
	name         string
	mode         uint32
	size         int64
	major, minor uint32
}

// cleanName is the form without a leading slash that the kernel expects.
func cleanName(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

func (c *cpioWriter) header(e entry) error {
	if e.size > math.MaxUint32 {
		return fmt.Errorf("%s: %d bytes are more than a cpio archive can hold", e.name, e.size)
	}
	c.inode++
	n, err := fmt.Fprintf(c.out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, e.mode, 0, 0, 1, 0, e.size, 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name)
	if err != nil {
		return fmt.Errorf("write cpio header of %s: %w", e.name, err)
	}
	c.pos += int64(n)
	return c.pad()
}

// pad fills up to a multiple of four.
func (c *cpioWriter) pad() error {
	n := int(-c.pos & 3)
	if _, err := c.out.Write(make([]byte, n)); err != nil {
		return fmt.Errorf("write cpio padding: %w", err)
	}
	c.pos += int64(n)
	return nil
}

// Dir adds a directory and its parents; one that is there already is left as it is.
func (c *cpioWriter) Dir(name string, perm fs.FileMode) error {
	name = cleanName(name)
	if name == "" || c.dirs[name] {
		return nil
	}
	if err := c.parents(name); err != nil {
		return err
	}
	c.dirs[name] = true
	return c.header(entry{name: name, mode: typeDir | uint32(perm.Perm())})
}

func (c *cpioWriter) parents(name string) error {
	if parent := path.Dir(name); !c.dirs[parent] {
		return c.Dir(parent, 0o755)
	}
	return nil
}

// File adds a file of exactly size bytes.
func (c *cpioWriter) File(name string, perm fs.FileMode, size int64, data io.Reader) error {
	name = cleanName(name)
	if err := c.parents(name); err != nil {
		return err
	}
	if err := c.header(entry{name: name, mode: typeFile | uint32(perm.Perm()), size: size}); err != nil {
		return err
	}
	n, err := io.Copy(c.out, io.LimitReader(data, size))
	if err != nil {
		return fmt.Errorf("write %s into the cpio archive: %w", name, err)
	}
	if n != size {
		return fmt.Errorf("write %s into the cpio archive: %d bytes instead of %d", name, n, size)
	}
	c.pos += n
	return c.pad()
}

// Link adds a symbolic link.
func (c *cpioWriter) Link(name, target string) error {
	name = cleanName(name)
	if err := c.parents(name); err != nil {
		return err
	}
	if err := c.header(entry{name: name, mode: typeLink | 0o777, size: int64(len(target))}); err != nil {
		return err
	}
	n, err := c.out.WriteString(target)
	if err != nil {
		return fmt.Errorf("write %s into the cpio archive: %w", name, err)
	}
	c.pos += int64(n)
	return c.pad()
}

// CharDevice adds a device node; nobody needs to be root for that.
func (c *cpioWriter) CharDevice(name string, perm fs.FileMode, major, minor uint32) error {
	name = cleanName(name)
	if err := c.parents(name); err != nil {
		return err
	}
	return c.header(entry{name: name, mode: typeDevice | uint32(perm.Perm()), major: major, minor: minor})
}

// HostFile adds a file of the host under another name.
func (c *cpioWriter) HostFile(name, hostPath string) error {
	file, err := os.Open(hostPath)
	if err != nil {
		return fmt.Errorf("put a file into the machine: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("put a file into the machine: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("put %s into the machine: it is no regular file", hostPath)
	}
	return c.File(name, info.Mode(), info.Size(), file)
}

// HostDir adds a directory of the host with all that is in it. Links are kept
// as links; sockets and the like are refused.
func (c *cpioWriter) HostDir(name, hostDir string) error {
	err := filepath.WalkDir(hostDir, func(hostPath string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(hostDir, hostPath)
		if err != nil {
			return err
		}
		guestPath := path.Join(name, filepath.ToSlash(relative))
		switch {
		case e.IsDir():
			info, err := e.Info()
			if err != nil {
				return err
			}
			return c.Dir(guestPath, info.Mode())
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(hostPath)
			if err != nil {
				return err
			}
			return c.Link(guestPath, target)
		default:
			return c.HostFile(guestPath, hostPath)
		}
	})
	if err != nil {
		return fmt.Errorf("put directory %s into the machine: %w", hostDir, err)
	}
	return nil
}

// Close writes the trailer; it does not close the underlying writer.
func (c *cpioWriter) Close() error {
	return errors.Join(c.header(entry{name: "TRAILER!!!"}), c.out.Flush())
}
