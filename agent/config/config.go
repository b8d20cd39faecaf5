// SPDX-License-Identifier: Apache-2.0

// Package config owns every setting of the agent: its name, default, rule and
// place in the Config. A setting comes from the defaults, a YAML file, the
// environment and the command line, each overriding the one before, and passes
// the same rule wherever it came from. Nothing else in the program reads flags
// or the environment. It must not know what the settings are used for.
package config

import (
	"regexp"
	"time"
)

// Config is the agent's configuration, complete and valid. It is a plain value
// that Load makes; tests may also fill in only what they need.
type Config struct {
	Paths  Paths
	Cgroup Cgroup
	// NodeName is the Kubernetes node's name. It is never empty after Load.
	NodeName string
	Names    Names
	// BPF is "auto", "off" or "required".
	BPF string
	// SampleInterval is the time from one sweep to the next, 100ms to 1m.
	SampleInterval time.Duration
	// Retention is how long what ended is still exported, 1m to 24h.
	Retention time.Duration
	Hints     Hints
	Metrics   Metrics
	Web       Web
	Log       Log
	// MaxProcs is how many threads may run Go code at once, or 0 to leave
	// the Go runtime's own choice.
	MaxProcs int
}

// Paths are the directories that the agent reads and writes.
type Paths struct {
	CgroupFS string // where cgroup v2 is mounted
	ProcFS   string // where the host's proc is mounted
	State    string // the only directory that is written to
}

// Cgroup says how the cgroup tree is read.
type Cgroup struct {
	// Root is the cgroup that kubepods is in or is itself, relative to the
	// cgroup mount with a slash in front. Empty: detect it.
	Root string
	// MaxOpenFiles bounds the control files that are kept open. 0: derive it
	// from RLIMIT_NOFILE.
	MaxOpenFiles int
}

// Names says whom the agent asks for the names of pods and containers.
type Names struct {
	// Kubernetes and Containerd are "auto" or "off".
	Kubernetes, Containerd string
	// Kubeconfig is how to reach the API server; empty: as the pod's service
	// account.
	Kubeconfig string
	// ContainerdAddress is the path of containerd's socket.
	ContainerdAddress string
}

// Hints says what requests and limits are hinted at.
type Hints struct {
	// Policy is "burstable", "no-cpu-limit" or "guaranteed".
	Policy string
	// CPUHeadroom multiplies CPU requests, 1 to 10.
	CPUHeadroom float64
}

// Metrics says which metric families are exported.
type Metrics struct {
	// DetailAll is true to export every family, not only the default ones.
	DetailAll bool
	// Include and Exclude add and remove families by name. They match whole
	// names; nil matches none.
	Include, Exclude *regexp.Regexp
	// NamespacesExclude leaves out the pods of the namespaces that it matches
	// as a whole; nil matches none.
	NamespacesExclude *regexp.Regexp
}

// Web says how the HTTP server listens.
type Web struct {
	// ListenAddresses are host:port pairs; an empty host is every address.
	ListenAddresses []string
	// ConfigFile is an exporter-toolkit web configuration (TLS, basic
	// authentication), or empty.
	ConfigFile string
	// Auth is "none", or "kubernetes" to let the API server say who may read.
	Auth string
	// AuthAudiences are those of which a bearer token must be for one. Empty:
	// the API server's own.
	AuthAudiences []string
	// AuthCacheTime is how long a permission holds without asking again.
	AuthCacheTime time.Duration
	// HealthAddress is a host:port that answers for the agent's health alone,
	// without TLS and authentication, or empty.
	HealthAddress string
	// PProf adds Go's profiles under /debug/pprof/.
	PProf bool
}

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // logfmt or json
}

// maxProcs holds the agent to two threads of Go code: one for the sweep, one
// for a scrape at the same time. More would let a burst of scrapes take CPU
// from the workloads that it watches.
const maxProcs = 2

// Default returns the configuration that holds when nothing else is said. The
// node's name is empty, as it has no default that is right on every node.
func Default() Config {
	return Config{
		Paths: Paths{
			CgroupFS: "/sys/fs/cgroup",
			ProcFS:   "/proc",
			State:    "/var/lib/slicewatch",
		},
		Names: Names{
			Kubernetes: "auto", Containerd: "auto",
			ContainerdAddress: "/run/containerd/containerd.sock",
		},
		BPF:            "auto",
		SampleInterval: time.Second,
		Retention:      5 * time.Minute,
		Hints:          Hints{Policy: "burstable", CPUHeadroom: 1},
		Web:            Web{ListenAddresses: []string{":9779"}, Auth: "none", AuthCacheTime: 2 * time.Minute},
		Log:            Log{Level: "info", Format: "logfmt"},
		MaxProcs:       maxProcs,
	}
}

// settings lists every setting, bound to the fields of c. The order is that of
// the help text and of the printed configuration.
func settings(c *Config) []setting {
	return []setting{
		{"path.cgroupfs", "Where the host's cgroup v2 hierarchy is mounted.", path{&c.Paths.CgroupFS}},
		{"path.procfs", "Where the host's proc is mounted.", path{&c.Paths.ProcFS}},
		{"path.state", "Directory for what must survive a restart of the agent; the only one written to.", path{&c.Paths.State}},
		{"node.name", "Name of the Kubernetes node. Default: $NODE_NAME, else the host's name.", text{&c.NodeName}},
		{"cgroup.root", "Cgroup that kubepods is in, where detection fails (the kubelet's --cgroup-root).", cgroupPath{&c.Cgroup.Root}},
		{"cgroup.max-open-files", "How many control files are kept open; 0 derives it from the limit on open files.", count{&c.Cgroup.MaxOpenFiles}},
		{"bpf", "Use eBPF programs: auto (what this kernel and these rights allow), off, or required (all, or do not start).",
			choice{&c.BPF, []string{"auto", "off", "required"}}},
		{"kubernetes", "Ask the API server for the names of this node's pods: auto or off.", onOff(&c.Names.Kubernetes)},
		{"kubeconfig", "How to reach the API server; default: as the pod's service account.", text{&c.Names.Kubeconfig}},
		{"containerd", "Ask containerd for the names of containers: auto or off.", onOff(&c.Names.Containerd)},
		{"containerd.address", "Path of containerd's socket.", path{&c.Names.ContainerdAddress}},
		{"sample.interval", "Time from one sweep of the cgroups to the next, 100ms to 1m.",
			duration{&c.SampleInterval, 100 * time.Millisecond, time.Minute}},
		{"retention", "How long ended pods and containers are still exported, 1m to 24h.",
			duration{&c.Retention, time.Minute, 24 * time.Hour}},
		{"hints.policy", "How hinted requests and limits relate: burstable (StatefulSets: guaranteed), no-cpu-limit, or guaranteed; pods may say slicewatch.dev/policy.",
			choice{&c.Hints.Policy, []string{"burstable", "no-cpu-limit", "guaranteed"}}},
		{"hints.cpu-headroom", "What hinted CPU requests are multiplied with, 1 to 10.", factor{&c.Hints.CPUHeadroom, 1, 10}},
		{"metrics.detail", "Families to export: default, or all.", detail{&c.Metrics.DetailAll}},
		{"metrics.include", "Families to export besides, as a regular expression for whole names.", pattern{&c.Metrics.Include}},
		{"metrics.exclude", "Families never to export, as a regular expression for whole names.", pattern{&c.Metrics.Exclude}},
		{"metrics.namespaces-exclude", "Namespaces to leave out, as a regular expression for whole names.",
			pattern{&c.Metrics.NamespacesExclude}},
		{"web.listen-address", "Address to serve HTTP on; may be given several times.", addresses{&c.Web.ListenAddresses}},
		{"web.config.file", "File with TLS and basic authentication settings (exporter-toolkit's web configuration).", text{&c.Web.ConfigFile}},
		{"web.auth", "Who may read: none leaves it to the web configuration, kubernetes asks the API server about bearer tokens.",
			choice{&c.Web.Auth, []string{"none", "kubernetes"}}},
		{"web.auth.audience", "Audience that bearer tokens must be for; may be given several times. Default: the API server's own.",
			words{&c.Web.AuthAudiences}},
		{"web.auth.cache-time", "How long a permission holds without asking again, 1s to 1h; also while the API server is away.",
			duration{&c.Web.AuthCacheTime, time.Second, time.Hour}},
		{"web.health-address", "Address to answer /-/healthy and /-/ready on besides, without TLS and authentication; default: none.",
			address{&c.Web.HealthAddress}},
		{"web.pprof", "Serve Go's profiles under /debug/pprof/.", boolean{&c.Web.PProf}},
		{"log.level", "Least severe level to log: debug, info, warn or error.",
			choice{&c.Log.Level, []string{"debug", "info", "warn", "error"}}},
		{"log.format", "Log format: logfmt or json.", choice{&c.Log.Format, []string{"logfmt", "json"}}},
	}
}

func onOff(to *string) value { return choice{to, []string{"auto", "off"}} }

// setting is one setting: its name as a flag, which the others derive from.
type setting struct {
	name  string // without the two dashes; dots are levels in the file
	help  string
	value value
}

// find returns the setting with the given name.
func find(all []setting, name string) (setting, bool) {
	for _, s := range all {
		if s.name == name {
			return s, true
		}
	}
	return setting{}, false
}

// nearest returns the name of those given that takes the fewest edits to get
// to from name, or "" if none is near enough to be a likely slip.
func nearest(name string, names []string) string {
	best, bestEdits := "", max(2, len(name)/3)+1
	for _, candidate := range names {
		if edits := distance(name, candidate); edits < bestEdits {
			best, bestEdits = candidate, edits
		}
	}
	return best
}

// distance is the Levenshtein distance of two names, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, substitute)
		}
	}
	return row[len(b)]
}
