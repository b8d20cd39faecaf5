// SPDX-License-Identifier: Apache-2.0

// Package nodeimage makes the disk of the emulated node: Debian's runc,
// systemd and tools, merely unpacked, with containerd, the kubelet and the
// images that the node itself and the tests' workloads need.
//
// It owns what is on the disk that no start changes. It must not know the
// cluster's credentials and settings, which the node gets at its start.
package nodeimage

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
	"slices"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/components"
	"github.com/slicewatch/slicewatch/test/kubernetes/debian"
)

// Images that the node has from the start. Pull policies must allow that.
const (
	PauseImage   = "slicewatch.test/pause:1"
	BusyboxImage = "slicewatch.test/busybox:1"
)

// diskBytes is the size of the disk; only what is used takes room.
const diskBytes = 4 << 30

// recipe goes into the cache key: change it with anything in this package that
// changes the disk's contents.
const recipe = "1"

// Image makes disks.
type Image struct {
	// Programs are those of components.Node and the host's ociarchive, and
	// pause, which is built for the node.
	Programs components.Paths
	Debian   debian.Archive
	// Cache keeps disks, by their contents.
	Cache string
	// Arch is the node's architecture as Go spells it.
	Arch string
	Log  *slog.Logger
}

// unwanted packages are dependencies that an unpacked system never uses.
var unwanted = []string{
	"debconf", "dpkg", "gcc-14-base", "libdb5.3t64", "libpam-modules-bin", "libpam-runtime",
	"libsqlite3-0", "openssl-provider-legacy", "perl-base", "sysvinit-utils", "tar",
}

// Build returns the path of a raw ext4 disk. The caller must not write to it.
func (i Image) Build(ctx context.Context) (string, error) {
	system, err := i.Debian.Fetch(ctx, "without "+strings.Join(unwanted, " "),
		func(name string) bool { return !slices.Contains(unwanted, name) },
		"systemd", "runc", "mount", "util-linux")
	if err != nil {
		return "", err
	}
	box, err := i.Debian.Fetch(ctx, "alone", func(name string) bool { return name == "busybox-static" }, "busybox-static")
	if err != nil {
		return "", err
	}
	disk := filepath.Join(i.Cache, "node-"+i.key(system, box)+".ext4")
	if _, err := os.Stat(disk); err == nil {
		return disk, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(i.Cache, 0o755); err != nil {
		return "", err
	}
	started := time.Now()
	if err := i.build(ctx, disk, system, filepath.Join(box, "usr/bin/busybox")); err != nil {
		return "", fmt.Errorf("make the node's disk: %w", err)
	}
	i.Log.Info("node's disk is made", "disk", disk, "seconds", time.Since(started).Seconds())
	return disk, nil
}

// key changes with everything that the disk is made of. The cached programs
// and packages have their contents' keys in their paths; pause has not, but it
// changes with recipe only.
func (i Image) key(directories ...string) string {
	names := append([]string{recipe, i.Arch}, directories...)
	for _, program := range components.Node() {
		names = append(names, i.Programs[program.Name])
	}
	digest := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return hex.EncodeToString(digest[:])[:16]
}

func (i Image) build(ctx context.Context, disk, system, busybox string) error {
	work, err := os.MkdirTemp(i.Cache, "rootfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "root")
	if err := i.fill(ctx, root, system, busybox); err != nil {
		return err
	}
	if err := i.addImages(ctx, work, filepath.Join(root, "images"), busybox); err != nil {
		return err
	}
	unfinished := filepath.Join(work, "disk")
	if err := os.WriteFile(unfinished, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(unfinished, diskBytes); err != nil {
		return err
	}
	// No journal: a disk that was cut off is thrown away.
	err = run(ctx, "mkfs.ext4", "-q", "-F", "-O", "^has_journal",
		"-E", "lazy_itable_init=1,root_owner=0:0", "-d", root, unfinished)
	if err != nil {
		return err
	}
	return os.Rename(unfinished, disk)
}

// addImages packs the images into archives, which the node imports at start.
func (i Image) addImages(ctx context.Context, work, images, busybox string) error {
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	pause := filepath.Join(work, "pause")
	if err := copyFile(i.Programs["pause"], filepath.Join(pause, "pause"), 0o755); err != nil {
		return err
	}
	if err := i.Pack(ctx, PauseImage, "/pause", pause, filepath.Join(images, "pause.tar")); err != nil {
		return err
	}
	box := filepath.Join(work, "busybox")
	if err := installBusybox(busybox, filepath.Join(box, "bin"), box, workloadApplets); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(box, "tmp"), 0o777); err != nil {
		return err
	}
	return i.Pack(ctx, BusyboxImage, "/bin/sh", box, filepath.Join(images, "busybox.tar"))
}

// Pack makes an OCI archive of the directory for the node's architecture.
func (i Image) Pack(ctx context.Context, name, entrypoint, directory, archive string) error {
	return run(ctx, i.Programs["ociarchive"], "-name="+name, "-arch="+i.Arch, "-entrypoint="+entrypoint,
		"-out="+archive, directory)
}

func run(ctx context.Context, program string, arguments ...string) error {
	output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, output)
	}
	return nil
}
