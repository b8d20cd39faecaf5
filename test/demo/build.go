// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

const module = "github.com/slicewatch/slicewatch"

// programs are what runs in the machine: name in its /bin -> package.
func programs() map[string]string {
	return map[string]string{
		"slicewatch": module + "/cmd/slicewatch",
		"kubetree":   module + "/test/kubetree/cmd/kubetree",
	}
}

// build cross-builds programs into dir and returns what to put into the
// machine: path there -> path here.
func build(ctx context.Context, arch, dir string) (map[string]string, error) {
	files := map[string]string{}
	for name, pkg := range programs() {
		out := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if output, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s for %s: %w\n%s", pkg, arch, err, output)
		}
		files["/bin/"+name] = out
	}
	return files, nil
}
