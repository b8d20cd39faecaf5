// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// Program returns what the command line of a process shows of a runtime whose
// own settings go with the container's limits. Of the first page of the command
// line only the program's name and the flags below are looked at, nothing else
// is kept; the environment is never read.
func (p *FS) Program(pid int) (snapshot.Runtime, error) {
	content, err := p.read(pid, "cmdline")
	if err != nil {
		return snapshot.Runtime{}, err
	}
	return parseProgram(content), nil
}

// program is a runtime, the names that its program has, and the beginnings of
// the flags that set what hints speak of. The last such flag counts, as it does
// for the programs.
type program struct {
	kind  snapshot.RuntimeKind
	names []string
	flags []string
}

func programs() [5]program {
	return [...]program{
		{snapshot.RuntimeNodeJS, []string{"node", "nodejs"}, []string{"--max-old-space-size", "--max_old_space_size"}},
		{snapshot.RuntimeJVM, []string{"java"}, []string{"-Xmx", "-XX:MaxRAMPercentage", "-XX:MaxHeapSize"}},
		{snapshot.RuntimeRedis, []string{"redis-server", "valkey-server"}, []string{"--maxmemory"}},
		{snapshot.RuntimeMongoDB, []string{"mongod"}, []string{"--wiredTigerCacheSizeGB", "--wiredTigerCacheSizePct"}},
		// What is written in Go cannot be told from a command line: these are
		// the programs that one meets on every other cluster.
		{snapshot.RuntimeGo, []string{
			"alertmanager", "blackbox_exporter", "caddy", "coredns", "etcd", "grafana", "kube-state-metrics", "loki", "minio",
			"node_exporter", "prometheus", "thanos", "traefik", "victoria-metrics-prod", "vmagent-prod",
		}, []string{"--auto-gomemlimit.ratio", "-memory.allowedPercent", "--memory.allowedPercent"}},
	}
}

// maxSetting bounds what is kept of a flag.
const maxSetting = 64

// parseProgram reads /proc/<pid>/cmdline: arguments that end in NUL. A program
// may have written its title over it, as redis does ("redis-server *:6379").
func parseProgram(content []byte) snapshot.Runtime {
	first, rest, _ := bytes.Cut(content, []byte{0})
	title, _, _ := strings.Cut(string(first), " ")
	name := path.Base(title)
	for _, p := range programs() {
		if slices.Contains(p.names, name) {
			return snapshot.Runtime{Kind: p.kind, Setting: lastSetting(p.flags, rest)}
		}
	}
	return snapshot.Runtime{}
}

// lastSetting returns the last of the flags with its value: "--a=1", "--a 1", or
// "-a1" where the flag is written that way.
func lastSetting(flags []string, rest []byte) string {
	found := ""
	for len(rest) > 0 {
		var argument []byte
		argument, rest, _ = bytes.Cut(rest, []byte{0})
		for _, flag := range flags {
			value, ok := strings.CutPrefix(string(argument), flag)
			switch {
			case !ok:
			case value == "":
				next, _, _ := bytes.Cut(rest, []byte{0})
				found = flag + " " + string(next)
			case value[0] == '=' || flag == "-Xmx":
				found = string(argument)
			}
		}
	}
	return strings.ToValidUTF8(found[:min(len(found), maxSetting)], "")
}
