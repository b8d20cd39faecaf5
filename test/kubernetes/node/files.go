// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"text/template"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
	"github.com/slicewatch/slicewatch/test/vm"
)

//go:embed files
var files embed.FS

const units = "/etc/systemd/system/"

// placed maps the embedded files to their places on the node.
var placed = map[string]string{
	"kubelet.yaml":          "/etc/kubelet.yaml",
	"containerd.toml":       "/etc/containerd/config.toml",
	"pods.conflist":         "/etc/cni/net.d/10-pods.conflist",
	"guest-network.service": units + "guest-network.service",
	"guest.service":         units + "guest.service",
	"containerd.service":    units + "containerd.service",
	"kubelet.service":       units + "kubelet.service",
}

// nodeFiles is where the helper finds, in the RAM disk, what it copies to the
// disk.
const nodeFiles = "nodefiles"

// writeInitramfs fills directory with the RAM disk's files: the helper as its
// init, the kernel modules, and what belongs on the node's disk.
func (n Node) writeInitramfs(ctx context.Context, directory string, authority *pki.Authority) error {
	found, err := vm.Modules(ctx, vm.Config{Arch: n.Arch, Progress: io.Discard}, n.Kernel.ModuleDir, modules)
	if err != nil {
		return err
	}
	settings := guestapi.Settings{
		NodeName: Name, ServiceAddress: n.ServiceAddress, APIServer: n.APIServer, Systemd: n.Systemd,
	}
	for _, module := range found {
		place := "/modules/" + module.Name + ".ko"
		settings.Modules = append(settings.Modules, place)
		if err := write(filepath.Join(directory, place), module.Image, 0o644); err != nil {
			return err
		}
	}
	if err := copyTo(filepath.Join(directory, "init"), n.Guest, 0o755); err != nil {
		return err
	}
	// The kernel opens it for init before anything is mounted, so its place
	// has to exist.
	if err := os.MkdirAll(filepath.Join(directory, "dev"), 0o755); err != nil {
		return err
	}
	disk := filepath.Join(directory, nodeFiles)
	if err := copyTo(filepath.Join(disk, guestapi.Program), n.Guest, 0o755); err != nil {
		return err
	}
	content, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(disk, guestapi.SettingsFile), content, 0o644); err != nil {
		return err
	}
	if err := n.writeTemplates(disk); err != nil {
		return err
	}
	return n.writeCredentials(disk, authority)
}

func (n Node) writeTemplates(disk string) error {
	for name, place := range placed {
		text, err := files.ReadFile("files/" + name)
		if err != nil {
			return err
		}
		parsed, err := template.New(name).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var filled bytes.Buffer
		if err := parsed.Execute(&filled, n); err != nil {
			return err
		}
		if err := write(filepath.Join(disk, place), filled.Bytes(), 0o644); err != nil {
			return err
		}
		if path.Dir(place)+"/" != units {
			continue
		}
		wants := filepath.Join(disk, units, "multi-user.target.wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := os.Symlink("../"+name, filepath.Join(wants, name)); err != nil {
			return err
		}
	}
	return write(filepath.Join(disk, "/etc/hostname"), []byte(Name+"\n"), 0o644)
}

// writeCredentials makes the kubelet's and the helper's certificates.
func (n Node) writeCredentials(disk string, authority *pki.Authority) error {
	kubeconfig, err := authority.Kubeconfig("kubelet", n.APIServer, "system:node:"+Name, "system:nodes")
	if err != nil {
		return err
	}
	pair, err := authority.Server("node-helper", "127.0.0.1", Name)
	if err != nil {
		return err
	}
	for place, source := range map[string]string{
		"/etc/kubelet.kubeconfig": kubeconfig,
		guestapi.CertificateFile:  pair.Certificate,
		guestapi.KeyFile:          pair.Key,
		guestapi.AuthorityFile:    authority.CertificateFile(),
	} {
		if err := copyTo(filepath.Join(disk, place), source, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func copyTo(destination, source string, mode os.FileMode) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return write(destination, content, mode)
}

func write(destination string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(destination), 0o755); err != nil {
		return err
	}
	return os.WriteFile(destination, content, mode)
}
