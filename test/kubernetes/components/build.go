// SPDX-License-Identifier: Apache-2.0

package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"
)

// Builder builds programs that its cache does not have.
type Builder struct {
	// Source is the directory of this package.
	Source string
	// Cache is the directory that the executables are kept in, one directory
	// per module version and architecture.
	Cache string
	// NodeArch is the node's architecture as Go spells it.
	NodeArch string
	Log      *slog.Logger
}

// Paths maps a program's name to its executable.
type Paths map[string]string

// Build returns the executables of programs, building those that are missing.
// The go command's own settings (GOFLAGS=-p=1 and the like) apply. An error
// names the program and carries the end of the compiler's output.
func (b Builder) Build(ctx context.Context, programs ...Program) (Paths, error) {
	paths := make(Paths, len(programs))
	for _, p := range programs {
		path, err := b.build(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("build %s from %s: %w", p.Name, filepath.Join(b.Source, p.module), err)
		}
		paths[p.Name] = path
	}
	return paths, nil
}

func (b Builder) build(ctx context.Context, p Program) (string, error) {
	directory, arch, err := b.target(p)
	if err != nil {
		return "", err
	}
	path := filepath.Join(directory, p.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return "", err
	}
	version := ""
	if p.versioned != "" {
		if version, err = b.run(ctx, p, nil, "list", "-m", "-f", "{{.Version}}", p.versioned); err != nil {
			return "", err
		}
	}
	flags, err := p.linkerFlags(version)
	if err != nil {
		return "", err
	}
	b.Log.Info("building", "program", p.Name, "arch", arch)
	started := time.Now()
	// Only a finished executable gets its name: a cut-off build must not be
	// taken for a cached one.
	unfinished := path + ".unfinished"
	_, err = b.run(ctx, p, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		"build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", unfinished, p.pkg)
	if err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", err
	}
	b.Log.Info("built", "program", p.Name, "arch", arch, "seconds", int(time.Since(started).Seconds()))
	return path, nil
}

// run runs the go command in p's module and returns its trimmed output.
func (b Builder) run(ctx context.Context, p Program, environment []string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = filepath.Join(b.Source, p.module)
	// The nested modules stand alone: a workspace around them would change
	// their versions.
	command.Env = append(append(os.Environ(), "GOWORK=off"), environment...)
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", arguments[0], err, lastLines(complaints.String(), 20))
	}
	return strings.TrimSpace(string(output)), nil
}

// target returns the directory that p's executable is kept in. Its name
// changes with everything that the executable is made from: the module's
// files (of which go.sum stands for all dependencies), the toolchain, the
// architecture.
func (b Builder) target(p Program) (directory, arch string, err error) {
	arch = runtime.GOARCH
	if p.node {
		arch = b.NodeArch
	}
	source := filepath.Join(b.Source, p.module)
	entries, err := os.ReadDir(source)
	if err != nil {
		return "", "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), arch)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			return "", "", err
		}
		fmt.Fprintln(hash, entry.Name(), len(content))
		hash.Write(content)
	}
	key := hex.EncodeToString(hash.Sum(nil))[:16]
	return filepath.Join(b.Cache, p.module+"-"+arch+"-"+key), arch, nil
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
