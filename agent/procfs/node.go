// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/procfs"
)

// Node reads what /proc says of the node as a whole.
type Node struct {
	dir string
	fs  procfs.FS
}

// OpenNode opens the proc file system at dir.
func OpenNode(dir string) (*Node, error) {
	fs, err := procfs.NewFS(dir)
	if err != nil {
		return nil, fmt.Errorf("open the proc file system: %w", err)
	}
	return &Node{dir: dir, fs: fs}, nil
}

// MemoryBytes returns MemTotal of /proc/meminfo.
func (n *Node) MemoryBytes() (uint64, error) {
	info, err := n.fs.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("read the node's memory: %w", err)
	}
	if info.MemTotalBytes == nil {
		return 0, fmt.Errorf("read the node's memory: no MemTotal in %s/meminfo", n.dir)
	}
	return *info.MemTotalBytes, nil
}

// HasSwap says whether the node has swap space, from /proc/meminfo.
func (n *Node) HasSwap() (bool, error) {
	info, err := n.fs.Meminfo()
	if err != nil {
		return false, fmt.Errorf("read the node's swap: %w", err)
	}
	return info.SwapTotal != nil && *info.SwapTotal > 0, nil
}

// CPUs returns the number of online CPUs, which are those that /proc/stat lists.
func (n *Node) CPUs() (int, error) {
	stat, err := n.fs.Stat()
	if err != nil {
		return 0, fmt.Errorf("count the node's CPUs: %w", err)
	}
	if len(stat.CPU) == 0 {
		return 0, fmt.Errorf("count the node's CPUs: none in %s/stat", n.dir)
	}
	return len(stat.CPU), nil
}

// Pressure is the time in which some or all tasks of the node stalled, in
// microseconds. Full is nil where the kernel does not keep it.
type Pressure struct{ Some, Full *uint64 }

// Pressure returns the PSI totals of "cpu", "memory" or "io"; an error if the
// kernel keeps none (psi=0, or no CONFIG_PSI).
func (n *Node) Pressure(resource string) (Pressure, error) {
	stats, err := n.fs.PSIStatsForResource(resource)
	if err != nil {
		return Pressure{}, fmt.Errorf("read the node's %s pressure: %w", resource, err)
	}
	var p Pressure
	if stats.Some != nil {
		p.Some = &stats.Some.Total
	}
	if stats.Full != nil {
		p.Full = &stats.Full.Total
	}
	return p, nil
}

// BootID names the boot of the kernel: another one after each start.
func (n *Node) BootID() (string, error) {
	raw, err := os.ReadFile(filepath.Join(n.dir, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read which boot this is: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
