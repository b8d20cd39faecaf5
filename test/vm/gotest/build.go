// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Binary is one package's tests, built.
type Binary struct {
	// Package is the import path.
	Package string
	// Path is the file on the host.
	Path string
	// TestdataDir is the package's testdata on the host, or empty.
	TestdataDir string
	// GuestDir is where the tests run: the package's place below /src, so that
	// relative paths to testdata are right.
	GuestDir string
}

// GuestPath is where the binary belongs in the guest.
func (b Binary) GuestPath() string {
	return path.Join(b.GuestDir, path.Base(b.GuestDir)+".test")
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
	Module                    struct{ Dir string }
}

// Build builds the tests of the packages that match patterns, into dir, for
// linux/arch. Packages without tests are left out; untested has their names.
func Build(ctx context.Context, arch, dir string, patterns []string) (binaries []Binary, untested []string, err error) {
	packages, err := list(ctx, arch, patterns)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range packages {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			untested = append(untested, p.ImportPath)
			continue
		}
		relative, err := filepath.Rel(p.Module.Dir, p.Dir)
		if err != nil {
			return nil, nil, fmt.Errorf("place %s in the machine: %w", p.ImportPath, err)
		}
		b := Binary{
			Package:  p.ImportPath,
			Path:     filepath.Join(dir, fmt.Sprintf("%s-%d.test", arch, i)),
			GuestDir: path.Join("/src", filepath.ToSlash(relative)),
		}
		testdata := filepath.Join(p.Dir, "testdata")
		switch _, err := os.Stat(testdata); {
		case err == nil:
			b.TestdataDir = testdata
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, fmt.Errorf("testdata of %s: %w", p.ImportPath, err)
		}
		// Without symbol tables a binary is half the size, and it is in the
		// machine's memory twice while that boots.
		if _, err := goCommand(ctx, arch, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", b.Path, p.ImportPath); err != nil {
			return nil, nil, fmt.Errorf("build the tests of %s: %w", p.ImportPath, err)
		}
		binaries = append(binaries, b)
	}
	return binaries, untested, nil
}

// BuildCommand builds the main package pkg for linux/arch into the file out.
func BuildCommand(ctx context.Context, arch, out, pkg string) error {
	if _, err := goCommand(ctx, arch, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg); err != nil {
		return fmt.Errorf("build the command %s: %w", pkg, err)
	}
	return nil
}

func list(ctx context.Context, arch string, patterns []string) ([]listed, error) {
	out, err := goCommand(ctx, arch, append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Module"}, patterns...)...)
	if err != nil {
		return nil, fmt.Errorf("find packages %s: %w", strings.Join(patterns, " "), err)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// goCommand runs the go command for linux/arch, without cgo: a guest has no C
// library. That also rules out the race detector.
func goCommand(ctx context.Context, arch string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
