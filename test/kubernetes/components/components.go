// SPDX-License-Identifier: Apache-2.0

// Package components builds the programs that a Kubernetes cluster consists
// of, from pinned Go modules, and keeps the results in a cache.
//
// It owns the list of programs and the nested modules below this directory,
// which pin their versions, so that none of them is in the product's go.mod.
// It must not know how the programs are started or what is tested with them.
package components

import (
	"fmt"
	"strings"
)

// Program is one executable of the cluster.
type Program struct {
	// Name is the file name of the executable.
	Name string
	// module is the nested module's directory, relative to this package's.
	module string
	// pkg is the import path of the main package.
	pkg string
	// node marks what runs on the node, and so is built for the node's
	// architecture; everything else runs on the host.
	node bool
	// versioned is a module whose version is stamped into the program the way
	// Kubernetes does it; empty for programs that know their own version.
	versioned string
}

const (
	kubernetesModule = "k8s.io/kubernetes"
	containerdPath   = "github.com/containerd/containerd/v2/cmd/"
	cniPluginsPath   = "github.com/containernetworking/plugins/plugins/"
)

// Host returns the programs that run on the host: the control plane, kubectl
// and the tool that packs images.
func Host() []Program {
	programs := []Program{
		{Name: "etcd", module: "etcd", pkg: "."},
		{Name: "ociarchive", module: "ociarchive", pkg: "."},
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"} {
		programs = append(programs, kubernetesProgram(name, false))
	}
	return programs
}

// Node returns the programs that run on the node. runc is not among them: it
// needs cgo, so it comes from the distribution.
func Node() []Program {
	return []Program{
		kubernetesProgram("kubelet", true),
		{Name: "containerd", module: "containerd", pkg: containerdPath + "containerd", node: true},
		{Name: "containerd-shim-runc-v2", module: "containerd", pkg: containerdPath + "containerd-shim-runc-v2", node: true},
		{Name: "ctr", module: "containerd", pkg: containerdPath + "ctr", node: true},
		{Name: "ptp", module: "containerd", pkg: cniPluginsPath + "main/ptp", node: true},
		{Name: "host-local", module: "containerd", pkg: cniPluginsPath + "ipam/host-local", node: true},
	}
}

func kubernetesProgram(name string, node bool) Program {
	return Program{
		Name: name, module: "kubernetes", pkg: kubernetesModule + "/cmd/" + name,
		node: node, versioned: kubernetesModule,
	}
}

// linkerFlags returns the value of -ldflags. version is the version of
// p.versioned, for example v1.36.3, and is not looked at when that is empty.
func (p Program) linkerFlags(version string) (string, error) {
	const strip = "-s -w"
	if p.versioned == "" {
		return strip, nil
	}
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) != 3 {
		return "", fmt.Errorf("version %q of %s: want the form v1.2.3", version, p.versioned)
	}
	const variable = " -X k8s.io/component-base/version."
	return strip + variable + "gitVersion=" + version +
		variable + "gitMajor=" + parts[0] + variable + "gitMinor=" + parts[1], nil
}
