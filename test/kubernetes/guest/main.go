// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guest is the helper on the emulated Kubernetes node. It boots the
// node's disk, sets up the network, keeps containerd and the kubelet running
// where systemd does not, and does what the host asks for over package
// guestapi. It must not know anything of the agent or of tests.
//
// In the initial RAM disk it is /init. On the disk it is process 1, or a
// service of systemd.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
)

// The words that say what the program is to do.
const (
	wordNetwork = "network"
	wordImport  = "import"
	wordServe   = "serve"
)

func main() {
	if err := run(os.Args[0], os.Args[1:]); err != nil {
		console("failed: %v", err)
		os.Exit(1)
	}
}

func run(name string, arguments []string) error {
	if name == "/init" {
		return boot()
	}
	settings, err := readSettings(guestapi.SettingsFile)
	if err != nil {
		return err
	}
	if len(arguments) == 0 {
		if os.Getpid() != 1 {
			return errors.New("this is the init program of a test node; it is of no use anywhere else (see test/kubernetes/README.md)")
		}
		return initialise(settings)
	}
	switch arguments[0] {
	case wordNetwork:
		return setUpNetwork(settings)
	case wordImport:
		return importImages()
	case wordServe:
		return serve(settings)
	default:
		return fmt.Errorf("unknown word %q", arguments[0])
	}
}

func readSettings(path string) (guestapi.Settings, error) {
	var settings guestapi.Settings
	content, err := os.ReadFile(path)
	if err != nil {
		return settings, fmt.Errorf("read the node's settings: %w", err)
	}
	if err := json.Unmarshal(content, &settings); err != nil {
		return settings, fmt.Errorf("read the node's settings: %w", err)
	}
	return settings, nil
}

// console prints a line that the host can see before the network is up, with
// the time since power-on.
func console(format string, arguments ...any) {
	file, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		file = os.Stderr
	} else {
		defer file.Close()
	}
	var uptime unix.Sysinfo_t
	_ = unix.Sysinfo(&uptime)
	fmt.Fprintf(file, "%s%d s: %s\n", guestapi.ConsolePrefix, uptime.Uptime, fmt.Sprintf(format, arguments...))
}
