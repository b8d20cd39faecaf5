// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package node starts the emulated Kubernetes node and reaches into it.
//
// It owns the emulator's flags, the files that one start puts on the node's
// disk, and the client of the helper program there (package guest). It must
// not know what is tested on the node.
package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
	"github.com/slicewatch/slicewatch/test/kubernetes/process"
	"github.com/slicewatch/slicewatch/test/vm"
)

// Name is the node's name in the cluster.
const Name = "node-a"

// processName is the emulator's name among the cluster's processes.
const processName = "node"

// pingTime is how long the helper may take to answer once it runs.
const pingTime = 5 * time.Second

// modules that the node needs: disk, network card, container file systems, the
// pods' cables.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "overlay", "veth"}

// Node is a node of the cluster. All fields are needed to start it; Directory,
// Port and Processes to reach and stop it.
type Node struct {
	// Directory has what belongs to one start: RAM disk, changes to the disk.
	Directory string
	Processes process.Group
	// Port on 127.0.0.1 leads to the helper.
	Port int
	Log  *slog.Logger

	// Arch is the architecture as Go spells it.
	Arch string
	// Systemd says whether systemd is process 1 and the cgroup driver.
	Systemd   bool
	CPUs      int
	MemoryMiB int
	Kernel    vm.Kernel
	// Disk is the raw disk of package nodeimage. It is not written to.
	Disk string
	// Guest is the helper's executable.
	Guest string
	// PauseImage is the sandbox container's image.
	PauseImage string
	// APIServer is the API server's address as the node sees it.
	APIServer string
	// ServiceAddress is the kubernetes Service's.
	ServiceAddress string
}

// Start boots the node with credentials from authority, and returns as soon as
// the emulator runs: AwaitHelper waits for more.
func (n Node) Start(ctx context.Context, authority *pki.Authority) error {
	if err := os.RemoveAll(n.Directory); err != nil {
		return err
	}
	files := filepath.Join(n.Directory, "initramfs")
	if err := n.writeInitramfs(ctx, files, authority); err != nil {
		return fmt.Errorf("make the node's RAM disk: %w", err)
	}
	ramDisk := filepath.Join(n.Directory, "initramfs.cpio")
	if err := pack(ctx, files, ramDisk); err != nil {
		return fmt.Errorf("make the node's RAM disk: %w", err)
	}
	disk := filepath.Join(n.Directory, "disk.qcow2")
	output, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", n.Disk, disk).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make the node's disk: %w\n%s", err, output)
	}
	program, flags, err := n.emulator(ramDisk, disk)
	if err != nil {
		return err
	}
	return n.Processes.Start(processName, program, flags...)
}

// Stop switches the node off, without asking it.
func (n Node) Stop(ctx context.Context) error { return n.Processes.Stop(ctx, processName) }

// ConsoleFile is what the node prints on its console.
func (n Node) ConsoleFile() string { return filepath.Join(n.Directory, "console.log") }

func (n Node) emulator(ramDisk, disk string) (program string, flags []string, err error) {
	console := ""
	switch n.Arch {
	case "arm64":
		// A processor that many arm64 nodes have, and a quarter less work to
		// emulate than "max", which signs pointers and has long vectors.
		program, console = "qemu-system-aarch64", "ttyAMA0"
		flags = []string{"-machine", "virt", "-cpu", "neoverse-n1"}
	case "amd64":
		program, console = "qemu-system-x86_64", "ttyS0"
		flags = []string{"-cpu", "max"}
	default:
		return "", nil, fmt.Errorf("no emulator for architecture %q: want arm64 or amd64", n.Arch)
	}
	flags = append(flags,
		"-accel", "tcg,thread=multi",
		"-smp", fmt.Sprint(n.CPUs), "-m", fmt.Sprint(n.MemoryMiB),
		"-kernel", n.Kernel.Image, "-initrd", ramDisk,
		"-append", "console="+console+" panic=-1 quiet", "-no-reboot",
		"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,file="+disk,
		"-device", "virtio-blk-pci,drive=disk",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:%d", n.Port, guestapi.Port),
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-display", "none", "-monitor", "none", "-serial", "file:"+n.ConsoleFile(),
	)
	return program, flags, nil
}

// AwaitHelper returns when the helper answers, with the end of the console if
// the node is gone before.
func (n Node) AwaitHelper(ctx context.Context, client *Client) error {
	for {
		// The emulator accepts connections that nobody answers yet.
		attempt, cancel := context.WithTimeout(ctx, pingTime)
		err := client.Ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if gone := n.CheckRunning(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the node's helper: %w (last: %w)\n%s", ctx.Err(), err, n.consoleTail())
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// CheckRunning returns an error with the end of the console when the node's
// emulator has ended.
func (n Node) CheckRunning() error {
	running, err := n.Processes.Running(processName)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("the node's emulator has ended: %s\n%s", n.Processes.Tail(processName), n.consoleTail())
	}
	return nil
}

func (n Node) consoleTail() string {
	content, err := os.ReadFile(n.ConsoleFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// pack makes a RAM disk of everything below directory. It is not compressed:
// the emulated processor would take longer to unpack it.
func pack(ctx context.Context, directory, archive string) error {
	var names bytes.Buffer
	err := filepath.WalkDir(directory, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(directory, path)
		names.WriteString(name + "\n")
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	command := exec.CommandContext(ctx, "cpio", "--create", "--format=newc", "--owner=0:0", "--quiet")
	command.Dir, command.Stdin, command.Stdout = directory, &names, out
	var complaints strings.Builder
	command.Stderr = &complaints
	if err := command.Run(); err != nil {
		return errors.Join(fmt.Errorf("cpio: %w\n%s", err, complaints.String()), out.Close())
	}
	return nil
}
