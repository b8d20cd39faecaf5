// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	imageDirectory   = "/images"
	// restartPause is how long a program that ended stays down.
	restartPause = time.Second
	// socketTime is how long containerd may take to answer.
	socketTime = 3 * time.Minute
)

// startNode starts what systemd would start, each in a cgroup of its own, and
// keeps it running.
func startNode() error {
	go superviseForever("containerd", "containerd", "--config", "/etc/containerd/config.toml")
	if err := importImages(); err != nil {
		return err
	}
	go superviseForever("kubelet", kubeletCommand[0], kubeletCommand[1:]...)
	console("kubelet is starting")
	return nil
}

// kubeletCommand is the same as in the kubelet's unit.
var kubeletCommand = []string{
	"kubelet", "--config=/etc/kubelet.yaml", "--kubeconfig=/etc/kubelet.kubeconfig", "--node-ip=10.0.2.15", "--v=2",
}

// superviseForever runs a program again whenever it ends.
func superviseForever(name, program string, arguments ...string) {
	for {
		err := supervise(name, program, arguments)
		console("%s ended: %v", name, err)
		time.Sleep(restartPause)
	}
}

func supervise(name, program string, arguments []string) error {
	cgroup := filepath.Join(cgroupRoot, "system", name)
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		return err
	}
	directory, err := os.OpenFile(cgroup, unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer directory.Close()
	log, err := os.OpenFile(filepath.Join("/var/log", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	return command.Run()
}

// importImages waits for containerd and gives it the images on the disk.
func importImages() error {
	deadline := time.Now().Add(socketTime)
	for {
		connection, err := net.Dial("unix", containerdSocket)
		if err == nil {
			connection.Close()
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for containerd: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	archives, err := filepath.Glob(imageDirectory + "/*.tar")
	if err != nil {
		return err
	}
	for _, archive := range archives {
		output, err := exec.Command("ctr", "--namespace=k8s.io", "images", "import", archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s: %w: %s", archive, err, output)
		}
	}
	console("%d images are imported", len(archives))
	return nil
}
