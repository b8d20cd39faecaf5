// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"fmt"
	"slices"
)

// skipped marks the files that are named.
func skipped(files []controlFile, names []string) ([]bool, error) {
	skip := make([]bool, len(files))
	for _, name := range names {
		i := slices.IndexFunc(files, func(file controlFile) bool { return file.name == name })
		if i < 0 {
			return nil, fmt.Errorf("file %q to skip is none that is read", name)
		}
		skip[i] = true
	}
	return skip, nil
}

// Skip names the files that are not read from now on, because somebody else
// reads their fields: "memory.stat". Those fields are left as they are, and
// nothing is kept open for them. Files that were skipped before and are not
// named now are read again.
func (r *FileReader) Skip(names []string) error {
	skip, err := skipped(r.files, names)
	if err != nil {
		return fmt.Errorf("read cgroups below %s: %w", r.rootDir, err)
	}
	for _, known := range r.cgroups {
		for i := range known.files {
			if skip[i] {
				r.closeFile(&known.files[i])
			}
		}
		known.untilSettings = 0
	}
	r.skip = skip
	return nil
}

// ReadAll is Read of every file, those that are skipped included.
func (r *FileReader) ReadAll(c *Cgroup, into *Reading) error {
	r.SettingsChanged(c)
	r.all = true
	err := r.Read(c, into)
	r.all = false
	return err
}
