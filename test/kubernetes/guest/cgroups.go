// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	processFile = "cgroup.procs"
)

// readTree reads the files named by wanted, or all without any, of every
// cgroup of the kubepods tree. What vanishes meanwhile is left out.
func readTree(wanted []string) (guestapi.Tree, error) {
	tree := guestapi.Tree{Cgroups: map[string]map[string]string{}, Processes: map[int]guestapi.Process{}}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return tree, err
	}
	if _, err := fmt.Fscanf(bytes.NewReader(meminfo), "MemTotal: %d kB", &tree.MemoryTotalKiB); err != nil {
		return tree, fmt.Errorf("parse MemTotal of /proc/meminfo: %w", err)
	}
	tops, err := filepath.Glob(filepath.Join(cgroupRoot, "kubepods*"))
	if err != nil {
		return tree, err
	}
	for _, top := range tops {
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // A cgroup that is gone is not there.
			}
			if entry.IsDir() {
				tree.Cgroups[relative(path)] = map[string]string{}
				return nil
			}
			if len(wanted) > 0 && entry.Name() != processFile && !slices.Contains(wanted, entry.Name()) {
				return nil
			}
			content, err := os.ReadFile(path)
			if err == nil {
				tree.Cgroups[relative(filepath.Dir(path))][entry.Name()] = string(content)
			}
			return nil
		})
	}
	for path, files := range tree.Cgroups {
		for field := range strings.FieldsSeq(files[processFile]) {
			if pid, err := strconv.Atoi(field); err == nil {
				readProcess(tree, pid, path)
			}
		}
	}
	return tree, nil
}

func relative(path string) string { return strings.TrimPrefix(path, cgroupRoot+"/") }

func readProcess(tree guestapi.Tree, pid int, cgroup string) {
	process := guestapi.Process{Cgroup: cgroup}
	directory := filepath.Join("/proc", strconv.Itoa(pid))
	command, err := os.ReadFile(filepath.Join(directory, "comm"))
	if err != nil {
		return
	}
	process.Command = strings.TrimSpace(string(command))
	for name, target := range map[string]*int{"oom_score": &process.OOMScore, "oom_score_adj": &process.OOMScoreAdj} {
		content, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			return
		}
		if *target, err = strconv.Atoi(strings.TrimSpace(string(content))); err != nil {
			return
		}
	}
	tree.Processes[pid] = process
}
