// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File is what one cgroup file says: value by key, both as the kernel spells
// them.
//
//	one word ("max\n")                        key ""
//	flat keyed ("low 0\nhigh 3\n")            key "low"
//	nested keyed ("some avg10=0.00 total=7")  key "some total"
//	cpu.max ("max 100000")                    keys "quota" and "period"
//	io.stat ("254:0 rbytes=4096")             key "254:0 rbytes"
//	words without keys, a list                keys "0", "1", ...
type File map[string]string

// Cgroup is what all files of one cgroup say, by file name.
type Cgroup map[string]File

// Value returns the number in a file under a key. The value "max" is
// max = true; ok is false where the file or the key is absent.
func (c Cgroup) Value(file, key string) (n uint64, max, ok bool) {
	word, ok := c[file][key]
	if !ok {
		return 0, false, false
	}
	if word == "max" {
		return 0, true, true
	}
	n, err := strconv.ParseUint(word, 10, 64)
	return n, false, err == nil
}

// Parse reads the text of the file called name.
func Parse(name, text string) File {
	file := File{}
	if name == "cpu.max" {
		words := strings.Fields(text)
		if len(words) == 2 {
			file["quota"], file["period"] = words[0], words[1]
		}
		return file
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) > 1 && strings.Contains(words[1], "="):
			for _, word := range words[1:] {
				key, value, _ := strings.Cut(word, "=")
				file[words[0]+" "+key] = value
			}
		case len(words) == 2:
			file[words[0]] = words[1]
		case len(words) == 1 && len(lines) == 1:
			file[""] = words[0]
		case len(words) == 1:
			file[strconv.Itoa(i)] = words[0]
		default:
			for j, word := range words {
				file[strconv.Itoa(j)] = word
			}
		}
	}
	return file
}

// ReadFile reads one file of the cgroup dir.
func ReadFile(dir, name string) (File, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read %s of cgroup %s: %w", name, dir, err)
	}
	return Parse(name, string(data)), nil
}

// ReadCgroup reads every readable file of the cgroup dir. Files that the
// kernel shows but does not support here (PSI turned off at boot, the process
// list of a threaded cgroup) are absent.
func ReadCgroup(dir string) (Cgroup, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list cgroup %s: %w", dir, err)
	}
	cgroup := Cgroup{}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || e.IsDir() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s of cgroup %s: %w", e.Name(), dir, err)
		}
		if info.Mode().Perm()&0o400 == 0 {
			continue
		}
		file, err := ReadFile(dir, e.Name())
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		cgroup[e.Name()] = file
	}
	return cgroup, nil
}

// Tree is what a whole tree says, by path below its top; "." is the top.
type Tree map[string]Cgroup

// ReadTree reads top and every cgroup below it.
func ReadTree(top string) (Tree, error) {
	tree := Tree{}
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		cgroup, err := ReadCgroup(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		tree[name] = cgroup
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the cgroups below %s: %w", top, err)
	}
	return tree, nil
}

// Change is one value that two readings of a tree do not agree on; "" stands
// for absent.
type Change struct{ Cgroup, File, Key, Before, After string }

// Compare returns the changes from before to after, ordered.
func Compare(before, after Tree) []Change {
	var changes []Change
	for _, name := range union(before, after) {
		for _, file := range union(before[name], after[name]) {
			a, b := before[name][file], after[name][file]
			for _, key := range union(a, b) {
				if a[key] != b[key] {
					changes = append(changes, Change{name, file, key, a[key], b[key]})
				}
			}
		}
	}
	return changes
}

// union returns the keys of both maps, ordered.
func union[V any](a, b map[string]V) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
