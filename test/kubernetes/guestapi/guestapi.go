// SPDX-License-Identifier: Apache-2.0

// Package guestapi is what the host and the helper program on the node say to
// each other: HTTP over TLS, both sides with certificates of the cluster's own
// authority.
//
//	POST /run?arg=...      runs a command as root; the body is its standard
//	                       input, the answer its output, the trailer its status
//	GET  /cgroups?file=... reads the kubepods tree at once
//	GET  /time             the node's clock, in nanoseconds since 1970
//	CONNECT host:port      a connection from the node, as by an HTTP proxy
//
// It owns the shapes and places. It must not know how a node is started.
package guestapi

const (
	// Port is where the helper listens on the node.
	Port = 10780
	// RunPath is where commands are run.
	RunPath = "/run"
	// CgroupsPath is where the kubepods tree is read.
	CgroupsPath = "/cgroups"
	// TimePath is where the node's clock is read.
	TimePath = "/time"
	// StatusTrailer carries the exit status of a command in decimal, or the
	// reason why it has none.
	StatusTrailer = "Exit-Status"
	// SettingsFile is where the helper finds its Settings, as JSON.
	SettingsFile = "/etc/slicewatch-node.json"
	// CertificateFile is the helper's own certificate.
	CertificateFile = "/etc/slicewatch-node.crt"
	// KeyFile is its private key.
	KeyFile = "/etc/slicewatch-node.key"
	// AuthorityFile is the certificate of the cluster's authority.
	AuthorityFile = "/etc/slicewatch-ca.crt"
	// Program is where the helper is on the node's disk.
	Program = "/usr/local/bin/guest"
	// ConsolePrefix starts the lines that the helper prints on the console.
	ConsolePrefix = "slicewatch-node: "
)

// Settings is what the helper needs to know.
type Settings struct {
	// NodeName is the node's name in the cluster, which is its host name too.
	NodeName string
	// ServiceAddress is the kubernetes Service's address. The helper takes it
	// for the node and passes connections to port 443 on to APIServer.
	ServiceAddress string
	// APIServer is the API server's address as seen from the node, host:port.
	APIServer string
	// Systemd says that systemd is process 1 and runs containerd and the
	// kubelet; without it the helper does both.
	Systemd bool
	// Modules are the kernel modules to load, in the order of loading.
	Modules []string
}

// Tree is the kubepods cgroups of the node at one moment, more or less.
type Tree struct {
	// Cgroups maps a path relative to the cgroup root to its files' contents
	// by name. A file that could not be read is absent.
	Cgroups map[string]map[string]string
	// Processes are all processes in those cgroups, by their process id.
	Processes map[int]Process
	// MemoryTotalKiB is MemTotal of /proc/meminfo.
	MemoryTotalKiB int64
}

// Process is what /proc says of one process. Values are trimmed.
type Process struct {
	// Cgroup is the path of its cgroup, as in Tree.Cgroups.
	Cgroup string
	// Command is the process's short name.
	Command string
	// OOMScore and OOMScoreAdj are /proc/PID/oom_score and oom_score_adj.
	OOMScore, OOMScoreAdj int
}
