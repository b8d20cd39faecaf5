// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guest is the init program of a test machine: the only program in its
// initial RAM disk. It owns what a bare kernel lacks (mounts, modules, network,
// swap, the reaping of orphans) and runs what the host asks for over package
// wire. It must not know anything of tests or of the agent.
//
// It is two processes. Process 1 prepares the machine and then only reaps;
// the server is its child, because os/exec waits for its own children and must
// not have them taken away by a wait for any child.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

const serveArg = "serve"

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveArg {
		if err := serve(); err != nil {
			fmt.Println(wire.FailedPrefix + err.Error())
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is the init program of a test machine; it is of no use anywhere else (see test/vm/README.md)")
		os.Exit(2)
	}
	if err := boot(); err != nil {
		fmt.Println(wire.FailedPrefix + err.Error())
	}
	halt()
}

// boot prepares the machine and returns when the server has ended.
func boot() error {
	if err := mountAll(); err != nil {
		return err
	}
	settings, err := readSettings()
	if err != nil {
		return err
	}
	for _, path := range settings.Modules {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	if err := setUpNetwork(); err != nil {
		return err
	}
	if settings.SwapDevice != "" {
		if err := swapOn(settings.SwapDevice); err != nil {
			return err
		}
	}
	server, err := os.StartProcess("/init", []string{"init", serveArg}, &os.ProcAttr{
		Env:   environment(),
		Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("start the command server: %w", err)
	}
	return reapUntil(server.Pid)
}

func environment() []string {
	return []string{
		"PATH=/bin:/sbin:/usr/bin:/usr/sbin",
		"HOME=/root",
		"TMPDIR=/tmp",
		"USER=root",
		wire.MarkerEnv + "=1",
	}
}

func readSettings() (wire.Settings, error) {
	var settings wire.Settings
	text, err := os.ReadFile(wire.SettingsPath)
	if err != nil {
		return settings, fmt.Errorf("read the machine's settings: %w", err)
	}
	if err := json.Unmarshal(text, &settings); err != nil {
		return settings, fmt.Errorf("read the machine's settings: %w", err)
	}
	return settings, nil
}

// reapUntil waits for any child, orphans included, until pid has ended.
func reapUntil(pid int) error {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		case ended != pid:
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		default:
			return fmt.Errorf("the command server ended with wait status %#x", int(status))
		}
	}
}

// halt never returns. The console is flushed by the kernel's own power-off.
func halt() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println(wire.FailedPrefix + "power off: " + err.Error())
	}
	select {}
}
