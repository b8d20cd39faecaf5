// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package cluster puts a Kubernetes cluster of one emulated node together from
// its parts: programs, control plane, disk, node.
//
// It owns the order in which things are built, started and stopped, and the
// record that lets another process find a running cluster. It must not know
// what is deployed on the cluster or tested with it.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/slicewatch/slicewatch/test/kubernetes/controlplane"
)

const (
	// CacheEnv names the environment variable with the directory that things
	// are kept in between runs, which package vm uses too.
	CacheEnv = "SLICEWATCH_CACHE"
	// DirectoryEnv names the one with Config.Directory, for a second cluster.
	DirectoryEnv = "SLICEWATCH_CLUSTER"
)

// Config says which cluster is wanted. The zero value of every field but Log
// stands for its default or for no.
type Config struct {
	// Cache has what is expensive to make; default: $SLICEWATCH_CACHE/kubernetes,
	// else slicewatch/kubernetes in the user's cache directory.
	Cache string
	// Directory has one running cluster; default: $SLICEWATCH_CLUSTER, else
	// cluster in Cache.
	Directory string
	// Arch is the node's architecture, arm64 or amd64; default arm64.
	Arch string
	// Driver is the node's cgroup driver, systemd or cgroupfs; default systemd.
	Driver string
	// CPUs and MemoryMiB are the node's; default 2 and 3072.
	CPUs, MemoryMiB int
	// WithoutNode leaves the node out: an API server to try manifests and
	// clients on.
	WithoutNode bool
	// WithoutControllers leaves the controller manager and the scheduler out:
	// nobody but the caller changes an object then.
	WithoutControllers bool
	Log                *slog.Logger
}

// The cgroup drivers.
const (
	DriverSystemd  = "systemd"
	DriverCgroupfs = "cgroupfs"
)

func (c Config) complete() (Config, error) {
	if c.Cache == "" {
		cache, err := defaultCache()
		if err != nil {
			return c, err
		}
		c.Cache = cache
	}
	if c.Directory == "" {
		c.Directory = os.Getenv(DirectoryEnv)
	}
	if c.Directory == "" {
		c.Directory = filepath.Join(c.Cache, "cluster")
	}
	for field, fallback := range map[*string]string{&c.Arch: "arm64", &c.Driver: DriverSystemd} {
		if *field == "" {
			*field = fallback
		}
	}
	if c.Driver != DriverSystemd && c.Driver != DriverCgroupfs {
		return c, fmt.Errorf("cgroup driver %q: want %s or %s", c.Driver, DriverSystemd, DriverCgroupfs)
	}
	for field, fallback := range map[*int]int{&c.CPUs: 2, &c.MemoryMiB: 3072} {
		if *field == 0 {
			*field = fallback
		}
	}
	return c, nil
}

// CacheDirectory returns Cache or its default.
func (c Config) CacheDirectory() (string, error) {
	c, err := c.complete()
	return c.Cache, err
}

func defaultCache() (string, error) {
	if cache := os.Getenv(CacheEnv); cache != "" {
		return filepath.Join(cache, "kubernetes"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache (set %s): %w", CacheEnv, err)
	}
	return filepath.Join(cache, "slicewatch", "kubernetes"), nil
}

// record is what another process needs to find a running cluster.
type record struct {
	Ports    controlplane.Ports
	Arch     string
	Driver   string
	Programs map[string]string
}

const recordName = "cluster.json"

func (r record) write(directory string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, recordName), content, 0o644)
}

// ErrNone says that there is no cluster.
var ErrNone = errors.New("there is no cluster: start one with `cluster up`")

func readRecord(directory string) (record, error) {
	var r record
	content, err := os.ReadFile(filepath.Join(directory, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNone
	}
	if err != nil {
		return r, fmt.Errorf("read the cluster's record: %w", err)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("read the cluster's record: %w", err)
	}
	return r, nil
}

// freePorts finds ports of the loopback that nobody listens on.
func freePorts() (ports controlplane.Ports, err error) {
	// All are held until the last is found, so that none comes twice.
	var held []net.Listener
	defer func() {
		for _, listener := range held {
			err = errors.Join(err, listener.Close())
		}
	}()
	for _, port := range []*int{
		&ports.API, &ports.Etcd, &ports.EtcdPeer, &ports.Controller, &ports.Scheduler, &ports.Node,
	} {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return ports, fmt.Errorf("find a free port: %w", err)
		}
		held = append(held, listener)
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
