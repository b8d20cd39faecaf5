// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/debian"
)

// runtimeTest runs against a real containerd, whatever its version.
const runtimeTest = "TestRealContainerd"

// checkOlderRuntime runs the agent's client against Debian 13's containerd, a
// 1.7, on this machine. The node has a 2.x.
func checkOlderRuntime(ctx context.Context, config cluster.Config) error {
	if os.Geteuid() != 0 {
		config.Log.Warn("not checked: containerd 1.7, which only root can start")
		return nil
	}
	cache, err := config.CacheDirectory()
	if err != nil {
		return err
	}
	archive := debian.Archive{Arch: runtime.GOARCH, Suite: "trixie", Cache: filepath.Join(cache, "debian"), Log: config.Log}
	files, err := archive.Fetch(ctx, "containerd alone", func(name string) bool { return name == "containerd" }, "containerd")
	if err != nil {
		return err
	}
	source, err := cluster.Source(ctx, "agent/identity/containers")
	if err != nil {
		return err
	}
	run := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run=^"+runtimeTest+"$", ".")
	run.Dir, run.Stdout, run.Stderr = source, os.Stdout, os.Stderr
	run.Env = append(os.Environ(), "SLICEWATCH_TEST_CONTAINERD="+filepath.Join(files, "usr/bin/containerd"))
	if err := run.Run(); err != nil {
		return fmt.Errorf("check the agent against containerd 1.7: %w", err)
	}
	return nil
}
