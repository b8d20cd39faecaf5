// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/containerd/cgroups/v3/cgroup2"

	"github.com/slicewatch/slicewatch/agent/sampling/reading"
	"github.com/slicewatch/slicewatch/bpf/iterator"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/bench/benchresult"
)

// settingsEvery is a full turn of what our reader does not read every time.
const settingsEvery = 30

// compareSweeps reads all cgroups in several ways.
func compareSweeps(cgroups []*cgroupfs.Cgroup) (rows []benchresult.Row, err error) {
	walked, closeWalked, err := ourSweep(cgroupfs.FileReaderConfig{}, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeWalked()) }()
	kept, closeKept, err := ourSweep(cgroupfs.FileReaderConfig{}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeKept()) }()
	anew, closeAnew, err := ourSweep(cgroupfs.FileReaderConfig{MaxOpen: 1}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAnew()) }()
	alone, closeAlone, err := iteratorAlone(cgroups)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAlone()) }()
	managers, err := loadManagers(cgroups)
	if err != nil {
		return nil, err
	}
	hot, settings := fileNames()
	return measureAll([]contender{
		{"slicewatch: refresh of the tree, eBPF iterator, io.stat where due", 2 * settingsEvery, walked},
		{"of that the eBPF iterator and its arithmetic", 2 * settingsEvery, alone},
		{"slicewatch --bpf=off: refresh of the tree, kept descriptors", 2 * settingsEvery, kept},
		{"slicewatch --bpf=off without kept descriptors", settingsEvery, anew},
		{"os.ReadFile of the files that change, no parsing", 5, func() error { return readFiles(cgroups, hot) }},
		{"os.ReadFile of all files that slicewatch reads, no parsing", 5, func() error { return readFiles(cgroups, slices.Concat(hot, settings)) }},
		{benchresult.PlainSweep, 5, func() error { return statAll(managers) }},
	})
}

// iteratorAlone walks over all cgroups and turns the records into readings.
func iteratorAlone(cgroups []*cgroupfs.Cgroup) (sweep, stop func() error, err error) {
	it, err := iterator.Open(iterator.Config{Root: cgroupRoot})
	if err != nil {
		return nil, nil, err
	}
	readings := make([]cgroupfs.Reading, len(cgroups))
	return func() error {
		if err := it.Sweep(cgroups[0]); err != nil {
			return err
		}
		for i, c := range cgroups {
			if !it.Read(c, &readings[i]) {
				return fmt.Errorf("the iterator did not come by %s", c.Path)
			}
		}
		return nil
	}, it.Close, nil
}

// ourSweep is what the agent reads with: the tree brought up to date, with
// inotify, and every cgroup read.
func ourSweep(cfg cgroupfs.FileReaderConfig, walk bool) (sweep, stop func() error, err error) {
	tree, err := cgroupfs.NewTree(cgroupRoot, cgroupfs.TreeConfig{Watch: true})
	if err != nil {
		return nil, nil, err
	}
	files, err := cgroupfs.NewFileReader(cgroupRoot, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, tree.Close())
	}
	settings := reading.Config{Files: files, Log: slog.New(slog.DiscardHandler)}
	if walk {
		settings.Open = func() (reading.Iterator, error) { return iterator.Open(iterator.Config{Root: cgroupRoot}) }
	}
	reader := reading.New(settings)
	if err := reader.Err(); err != nil {
		return nil, nil, errors.Join(err, files.Close(), tree.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tree.Run(ctx) }()
	readings := map[uint64]*cgroupfs.Reading{}
	sweep = func() error {
		changes, err := tree.Refresh()
		if err != nil {
			return err
		}
		for _, c := range changes.Born {
			readings[c.ID] = &cgroupfs.Reading{}
		}
		reader.Begin(tree.Cgroups()[0])
		for _, c := range tree.Cgroups() {
			if err := reader.Read(c, readings[c.ID]); err != nil {
				return err
			}
		}
		return nil
	}
	stop = func() error {
		cancel()
		return errors.Join(<-ended, reader.Close(), files.Close(), tree.Close())
	}
	return sweep, stop, nil
}

// fileNames returns the files that our reader reads every time, and those that
// it reads now and then.
func fileNames() (hot, settings []string) {
	for f := range cgroupfs.NumFields {
		info := f.Info()
		to := &hot
		if info.Setting {
			to = &settings
		}
		if !slices.Contains(*to, info.File) {
			*to = append(*to, info.File)
		}
	}
	return hot, settings
}

func readFiles(cgroups []*cgroupfs.Cgroup, names []string) error {
	for _, c := range cgroups {
		for _, name := range names {
			// Slices and pods lack some.
			if _, err := os.ReadFile(cgroupRoot + c.Path + "/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func loadManagers(cgroups []*cgroupfs.Cgroup) ([]*cgroup2.Manager, error) {
	var managers []*cgroup2.Manager
	for _, c := range cgroups {
		m, err := cgroup2.Load(c.Path)
		if err != nil {
			return nil, err
		}
		managers = append(managers, m)
	}
	return managers, nil
}

func statAll(managers []*cgroup2.Manager) error {
	for _, m := range managers {
		if _, err := m.Stat(); err != nil {
			return err
		}
	}
	return nil
}
