// SPDX-License-Identifier: Apache-2.0

package nodeimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// nodeApplets are the commands that the packages did not bring and that the
// kubelet, the tests and a curious developer want.
const nodeApplets = "sh ash cat ls echo grep sed awk sleep mkdir rmdir rm cp mv ln chmod chown date env cut tr head " +
	"tail wc sort uniq find stat readlink basename dirname test true false id ps nc ip ifconfig hostname seq tee tar " +
	"gzip gunzip df du touch printf dd sync od xargs vi expr kill poweroff reboot time timeout top free nproc " +
	"sha256sum mount umount wget"

// workloadApplets are the commands of BusyboxImage.
const workloadApplets = "sh sleep dd cat echo true false seq head tail ls grep awk wget httpd nc date test timeout kill mkdir rm"

// leftOut are the parts of packages that the node has no use for.
var leftOut = []string{
	"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/bash-completion", "usr/share/zsh",
	"usr/share/lintian", "usr/share/bug", "usr/lib/udev", "usr/lib/modules", "usr/lib/kernel",
}

// directories that no package brings.
var directories = []string{
	"proc", "sys", "dev", "tmp", "run", "root", "etc/containerd", "etc/cni/net.d", "etc/kubernetes/manifests",
	"opt/cni/bin", "var/lib", "var/log", "var/tmp", "usr/local/bin", "usr/bin", "usr/sbin", "usr/lib",
}

// texts are the small files of a system that was never installed.
var texts = map[string]string{
	"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
	"etc/group":       "root:x:0:\nnogroup:x:65534:\n",
	"etc/hosts":       "127.0.0.1 localhost\n",
	"etc/resolv.conf": "nameserver 10.0.2.3\n",
	"etc/os-release":  "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (test node)\"\nVERSION_ID=\"13\"\n",
	"etc/machine-id":  "0123456789abcdef0123456789abcdef\n",
}

// fill makes the node's root directory.
func (i Image) fill(ctx context.Context, root, system, busybox string) error {
	for _, directory := range directories {
		if err := os.MkdirAll(filepath.Join(root, directory), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		// The packages expect the links that Debian's base-files makes.
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	if err := run(ctx, "cp", "--archive", "--no-preserve=ownership", system+"/.", root); err != nil {
		return err
	}
	for _, name := range leftOut {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	if err := installBusybox(busybox, filepath.Join(root, "usr/bin"), root, nodeApplets); err != nil {
		return err
	}
	for name, destination := range map[string]string{
		"kubelet": "usr/local/bin", "containerd": "usr/local/bin", "containerd-shim-runc-v2": "usr/local/bin",
		"ctr": "usr/local/bin", "ptp": "opt/cni/bin", "host-local": "opt/cni/bin",
	} {
		if err := copyFile(i.Programs[name], filepath.Join(root, destination, name), 0o755); err != nil {
			return err
		}
	}
	for name, content := range texts {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return maskUnits(filepath.Join(root, "etc/systemd/system"))
}

// installBusybox puts busybox into bin with a link for each applet that root
// does not have in any of its directories of programs.
func installBusybox(busybox, bin, root, applets string) error {
	if err := copyFile(busybox, filepath.Join(bin, "busybox"), 0o755); err != nil {
		return err
	}
	for applet := range strings.FieldsSeq(applets) {
		if exists(filepath.Join(bin, applet)) || exists(filepath.Join(root, "usr/sbin", applet)) {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// maskUnits switches off the parts of systemd that need what the node has not:
// udev, D-Bus, logins, a journal, an installed system.
func maskUnits(directory string) error {
	const units = "getty.target systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket " +
		"systemd-journald-audit.socket systemd-journal-flush.service systemd-journal-catalog-update.service " +
		"systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service " +
		"systemd-tmpfiles-clean.timer systemd-sysusers.service ldconfig.service systemd-update-done.service " +
		"systemd-random-seed.service systemd-binfmt.service systemd-logind.service systemd-user-sessions.service " +
		"systemd-firstboot.service systemd-machine-id-commit.service systemd-hwdb-update.service " +
		"systemd-remount-fs.service systemd-networkd.service systemd-update-utmp.service systemd-pcrphase.service " +
		"proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount systemd-modules-load.service " +
		"systemd-tpm2-setup.service systemd-tpm2-setup-early.service"
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	for unit := range strings.FieldsSeq(units) {
		path := filepath.Join(directory, unit)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink("/dev/null", path); err != nil {
			return err
		}
	}
	return os.Symlink("/usr/lib/systemd/system/multi-user.target", filepath.Join(directory, "default.target"))
}

func copyFile(source, destination string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(destination), 0o755); err != nil {
		return err
	}
	from, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", destination, err)
	}
	defer from.Close()
	to, err := os.OpenFile(destination, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return fmt.Errorf("copy %s to %s: %w", source, destination, err)
	}
	return to.Close()
}
