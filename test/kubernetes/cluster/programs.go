// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slicewatch/slicewatch/test/kubernetes/components"
)

// modulePath is the product's module, whose own small programs run on the node.
const modulePath = "github.com/slicewatch/slicewatch"

// Programs builds whatever the cache does not have of the cluster's programs.
func Programs(ctx context.Context, config Config) (components.Paths, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	source, err := Source(ctx, "test/kubernetes/components")
	if err != nil {
		return nil, err
	}
	builder := components.Builder{
		Source: source, Cache: filepath.Join(config.Cache, "programs"), NodeArch: config.Arch, Log: config.Log,
	}
	if config.WithoutNode {
		return builder.Build(ctx, components.Host()...)
	}
	paths, err := builder.Build(ctx, append(components.Host(), components.Node()...)...)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"guest", "pause"} {
		path := filepath.Join(config.Cache, "programs", config.Arch, name)
		if err := BuildOwn(ctx, config.Arch, "test/kubernetes/"+name, path); err != nil {
			return nil, err
		}
		paths[name] = path
	}
	return paths, nil
}

// Source returns where the source of a package is, whose path is relative to
// the product's module.
func Source(ctx context.Context, pkg string) (string, error) {
	directory, err := goCommand(ctx, nil, "list", "-f", "{{.Dir}}", modulePath+"/"+pkg)
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w", pkg, err)
	}
	return directory, nil
}

// BuildOwn builds a main package of the product's module, whose path is
// relative to it, as a static program. The go command knows by itself when
// there is nothing to do.
func BuildOwn(ctx context.Context, arch, pkg, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_, err := goCommand(ctx, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, modulePath+"/"+pkg)
	return err
}

func goCommand(ctx context.Context, environment []string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Env = append(os.Environ(), environment...)
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s (run inside the project's module): %w\n%s", strings.Join(arguments, " "), err, complaints.String())
	}
	return strings.TrimSpace(string(output)), nil
}
