// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CacheEnv names the environment variable that overrides DefaultCacheDir.
const CacheEnv = "SLICEWATCH_CACHE"

// Kernel is one unpacked kernel package in the cache.
type Kernel struct {
	Arch, Suite string
	// Package is Debian's name and version, for example
	// "linux-image-6.12.107+deb13-cloud-arm64_6.12.107-1".
	Package string
	// Release is what uname -r says in the guest.
	Release string
	// Image is the file to boot.
	Image string
	// ModuleDir has the modules, kernel/... and modules.builtin.
	ModuleDir string
}

// DefaultCacheDir is $SLICEWATCH_CACHE, else slicewatch/vm below the user's
// cache directory.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep kernels: %w; set %s to a directory", err, CacheEnv)
	}
	return filepath.Join(dir, "slicewatch", "vm"), nil
}

// FetchKernel returns the kernel of cfg.Arch and cfg.Suite: from the cache, or
// by apt into the cache. Two runs at once wait for each other.
func FetchKernel(ctx context.Context, cfg Config) (Kernel, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(cfg.CacheDir, "kernels", cfg.Arch+"-"+cfg.Suite)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Kernel{}, fmt.Errorf("make the kernels' cache: %w", err)
	}
	unlock, err := lock(ctx, dir+".lock", func() {
		cfg.progress("waiting for another run that is fetching the %s kernel of %s", cfg.Arch, cfg.Suite)
	})
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	cached, found, err := newestCached(cfg, dir)
	if err != nil || (found && !cfg.Refresh) {
		return cached, err
	}
	name, err := fetchInto(ctx, cfg, dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch the %s kernel of Debian %s: %w", cfg.Arch, cfg.Suite, err)
	}
	return openKernel(cfg, filepath.Join(dir, name))
}

// newestCached picks the kernel that was unpacked last: versions are only ever
// replaced by newer ones.
func newestCached(cfg Config, dir string) (Kernel, bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Kernel{}, false, fmt.Errorf("look into the kernels' cache: %w", err)
	}
	var newest string
	var newestTime time.Time
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "linux-image-") {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return Kernel{}, false, fmt.Errorf("look into the kernels' cache: %w", err)
		}
		if newest == "" || info.ModTime().After(newestTime) {
			newest, newestTime = entry.Name(), info.ModTime()
		}
	}
	if newest == "" {
		return Kernel{}, false, nil
	}
	kernel, err := openKernel(cfg, filepath.Join(dir, newest))
	return kernel, err == nil, err
}

// openKernel finds the image and the modules of an unpacked package. Debian
// moved the latter from /lib to /usr/lib with trixie.
func openKernel(cfg Config, dir string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return Kernel{}, fmt.Errorf("look for a kernel in %s: %w", dir, err)
	}
	if len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s has %d kernels, not one: remove it to have it fetched again", dir, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := Kernel{Arch: cfg.Arch, Suite: cfg.Suite, Package: filepath.Base(dir), Release: release, Image: images[0]}
	for _, prefix := range []string{"usr/lib", "lib"} {
		candidate := filepath.Join(dir, prefix, "modules", release)
		if _, err := os.Stat(candidate); err == nil {
			k.ModuleDir = candidate
			return k, nil
		}
	}
	return Kernel{}, fmt.Errorf("%s has no modules of %s: remove it to have it fetched again", dir, release)
}

// keepOnly removes everything of a package but what is below boot, lib and usr:
// the image and the modules. The documentation goes too.
func keepOnly(dir string) error {
	keep := []string{"boot", "lib", "usr"}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("tidy %s: %w", dir, err)
	}
	for _, entry := range entries {
		if !slices.Contains(keep, entry.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("tidy %s: %w", dir, err)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "usr", "share")); err != nil {
		return fmt.Errorf("tidy %s: %w", dir, err)
	}
	return nil
}

// lock takes an exclusive lock on path; the kernel drops it with the process.
// wait is called once if somebody else holds it.
func lock(ctx context.Context, path string, wait func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for told := false; ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock the cache: flock %s: %w", path, err)
		}
		if !told {
			wait()
			told = true
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-ticker.C:
		}
	}
}
