// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

// guestPackage is the init program, built for the machine's architecture. The
// go command's own cache makes the second time cheap.
const guestPackage = "github.com/slicewatch/slicewatch/test/vm/guest"

// neededModules carry the network card, and the disk where there is swap.
func (c Config) neededModules() []string {
	names := []string{"virtio_pci", "virtio_net"}
	if c.SwapMiB > 0 {
		names = append(names, "virtio_blk")
	}
	return append(names, c.Modules...)
}

func buildGuest(ctx context.Context, arch, out string) error {
	_, err := command(ctx, "", "env", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch,
		"go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", out, guestPackage)
	if err != nil {
		return fmt.Errorf("build the machine's init program (run this inside the project's module): %w", err)
	}
	return nil
}

// writeInitramfs makes the initial RAM disk in dir and returns its path. It is
// not compressed: the emulated processor would take longer to unpack it than
// the host takes to copy it.
func writeInitramfs(ctx context.Context, cfg Config, kernel Kernel, dir string) (string, error) {
	initPath := filepath.Join(dir, "init")
	if err := buildGuest(ctx, cfg.Arch, initPath); err != nil {
		return "", err
	}
	modules, err := Modules(ctx, cfg, kernel.ModuleDir, cfg.neededModules())
	if err != nil {
		return "", err
	}
	diskPath := filepath.Join(dir, "initramfs.cpio")
	file, err := os.Create(diskPath)
	if err != nil {
		return "", fmt.Errorf("make the initial RAM disk: %w", err)
	}
	defer file.Close()
	archive := newCPIOWriter(file)
	if err := fillInitramfs(archive, cfg, initPath, modules); err != nil {
		return "", err
	}
	if err := archive.Close(); err != nil {
		return "", fmt.Errorf("write the initial RAM disk: %w", err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("write the initial RAM disk: %w", err)
	}
	if err := os.Remove(initPath); err != nil {
		return "", fmt.Errorf("tidy the machine's folder: %w", err)
	}
	return diskPath, checkRoom(cfg, archive.pos)
}

// checkRoom refuses what the guest could only answer with a panic: the kernel
// holds the archive and its unpacked copy at the same time.
func checkRoom(cfg Config, archiveBytes int64) error {
	const kernelMiB = 192
	if needMiB := int(2*archiveBytes>>20) + kernelMiB; needMiB > cfg.MemoryMiB {
		return fmt.Errorf("the files for the machine have %d MiB: it needs %d MiB of memory to start, not %d",
			archiveBytes>>20, needMiB, cfg.MemoryMiB)
	}
	return nil
}

func fillInitramfs(archive *cpioWriter, cfg Config, initPath string, modules []Module) error {
	// The kernel opens it as init's standard input and output before anything
	// is mounted.
	if err := archive.CharDevice("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	if err := archive.HostFile("init", initPath); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp", "var/lib"} {
		if err := archive.Dir(dir, 0o755); err != nil {
			return err
		}
	}
	settings := wire.Settings{}
	if cfg.SwapMiB > 0 {
		settings.SwapDevice = "/dev/vda"
	}
	for _, module := range modules {
		name := path.Join("/lib/modules", module.Name+".ko")
		settings.Modules = append(settings.Modules, name)
		if err := archive.File(name, 0o644, int64(len(module.Image)), bytes.NewReader(module.Image)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("write the machine's settings: %w", err)
	}
	texts := map[string]string{
		wire.SettingsPath: string(text),
		"/etc/hosts":      "127.0.0.1 localhost\n10.0.2.2 host\n",
		"/etc/passwd":     "root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"/etc/group":      "root:x:0:\nnogroup:x:65534:\n",
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := archive.File(name, 0o644, int64(len(texts[name])), bytes.NewReader([]byte(texts[name]))); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Dirs)) {
		if err := archive.HostDir(name, cfg.Dirs[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Files)) {
		if err := archive.HostFile(name, cfg.Files[name]); err != nil {
			return err
		}
	}
	return nil
}
