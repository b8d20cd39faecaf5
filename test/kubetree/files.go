// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for the kernel: a dying process may have to wait
// for CPU time that its quota does not give it soon.
const patience = 60 * time.Second

// setting is one control file and what to write to it.
type setting struct {
	file, value string
	// ifPresent forgives kernels and hierarchies that lack the file.
	ifPresent bool
}

func apply(dir string, settings []setting) error {
	for _, s := range settings {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		if s.ifPresent && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %q to %s of cgroup %s: %w", s.value, s.file, dir, err)
		}
	}
	return nil
}

// mkdir makes a cgroup that must not exist yet.
func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup %s: %w", dir, err)
	}
	return nil
}

// delegate gives every controller that dir has to its children.
func delegate(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("list the controllers of cgroup %s: %w", dir, err)
	}
	for controller := range strings.FieldsSeq(string(data)) {
		if err := apply(dir, []setting{{file: "cgroup.subtree_control", value: "+" + controller}}); err != nil {
			return err
		}
	}
	return nil
}

// hasEvent reports whether cgroup.events of dir says "key 1".
func hasEvent(dir, key string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return false, fmt.Errorf("read cgroup.events of cgroup %s: %w", dir, err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) == key+" 1" {
			return true, nil
		}
	}
	return false, nil
}

// waitEvent waits until cgroup.events of dir says want about key.
func waitEvent(dir, key string, want bool) error {
	deadline := time.Now().Add(patience)
	for {
		got, err := hasEvent(dir, key)
		if err != nil || got == want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: waited %v for %s to be %v", dir, patience, key, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// killAll kills every process in dir and below, and waits until none is left.
// A cgroup that is gone has none.
func killAll(dir string) error {
	err := apply(dir, []setting{{file: "cgroup.kill", value: "1"}})
	if err == nil {
		err = waitEvent(dir, "populated", false)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// removeAll removes dir and all cgroups below it. None may have processes.
func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list cgroup %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	deadline := time.Now().Add(patience)
	for {
		// The last process counts as gone a moment before the kernel lets go
		// of the cgroup.
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
