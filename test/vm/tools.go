// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// errorTailBytes is how much of a failed program's output goes into its error.
const errorTailBytes = 2000

// command runs a program of the host to its end and returns its standard
// output. The error has the command line and the end of what it printed.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// Messages are looked at by this package: they must be in one language.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{name}, args...), " "), err,
			tail(strings.TrimSpace(stderr.String()), errorTailBytes))
	}
	return stdout.String(), nil
}

func tail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return "..." + text[len(text)-limit:]
}

// Tool is a program and the Debian package that has it.
type Tool struct{ Program, Package string }

// Emulator returns the tool that emulates machines of an architecture.
func Emulator(arch string) (Tool, error) {
	e, err := emulatorOf(arch)
	return Tool{e.program, e.debianPackage}, err
}

// Require installs what is missing of the tools where this user may install
// packages; else the error says what to type. Of cfg it uses Progress.
func Require(ctx context.Context, cfg Config, tools ...Tool) error {
	for _, t := range tools {
		if err := requireTool(ctx, cfg, t.Program, t.Package); err != nil {
			return err
		}
	}
	return nil
}

// requireTool installs a Debian package if its program is missing and this user
// may install packages; else the error says what to type.
func requireTool(ctx context.Context, cfg Config, program, pkg string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	install := []string{"apt-get", "install", "-y", "--no-install-recommends", pkg}
	advice := fmt.Errorf("%s is needed and not installed: sudo %s", program, strings.Join(install, " "))
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s is needed, not installed, and this machine has no apt-get to install Debian's package %s", program, pkg)
	}
	var sudo []string
	if os.Geteuid() != 0 {
		if _, err := command(ctx, "", "sudo", "-n", "true"); err != nil {
			return advice
		}
		sudo = []string{"sudo", "-n"}
	}
	cfg.progress("installing %s for %s", pkg, program)
	run := func(words ...string) error {
		words = append(slices.Clip(sudo), words...)
		_, err := command(ctx, "", words[0], words[1:]...)
		return err
	}
	if err := run(install...); err == nil {
		return nil
	}
	// A fresh container has no package lists, an old machine has outdated ones.
	if err := run("apt-get", "update"); err != nil {
		return fmt.Errorf("%w (%w)", advice, err)
	}
	if err := run(install...); err != nil {
		return fmt.Errorf("%w (%w)", advice, err)
	}
	return nil
}
