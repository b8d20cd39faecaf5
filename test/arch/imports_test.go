// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"slices"
	"strings"
	"testing"
)

// ban says that packages never reach certain imports.
type ban struct {
	// from are the directories that the ban is on, with what is below them.
	// Empty: everything that is shipped.
	from []string
	// but are directories that the ban is not on.
	but []string
	// never are import paths, with what is below them; those that begin with a
	// dot are directories of this repository.
	never []string
	// save are import paths that the ban is not about.
	save []string
	// directly is true where only the package's own imports count, not those of
	// the repository's packages that it imports.
	directly bool
	reason   string
}

// vpaArithmetic is a histogram, with no client or API type in what it does.
const (
	vpaModule     = "k8s.io/autoscaler/vertical-pod-autoscaler"
	vpaArithmetic = vpaModule + "/pkg/recommender/util"
)

var bans = []ban{
	{
		from:   []string{"cgroupfs", "bpf", "agent/snapshot", "agent/history", "agent/hints"},
		never:  []string{"net/http", "k8s.io", "github.com/containerd", "github.com/prometheus"},
		save:   []string{vpaArithmetic},
		reason: "the core reads the kernel and computes; it must be testable and usable without a cluster, a runtime or a server",
	},
	{
		from:   []string{"cgroupfs"},
		never:  []string{"./agent", "./exporter", "./bpf", "./cmd"},
		reason: "imports run one way, and the files of cgroup v2 are at their end",
	},
	{
		from:   []string{"bpf"},
		never:  []string{"./agent", "./exporter", "./cmd"},
		reason: "the programs speak of cgroup ids and of the kernel's numbers; who they belong to is found out above them",
	},
	{
		but:      []string{"bpf", "agent"},
		never:    []string{"./bpf"},
		directly: true,
		reason:   "what eBPF tells goes through the sampler into the snapshot, like what files tell",
	},
	{
		from:   []string{"agent/snapshot"},
		never:  []string{"./exporter", "./bpf", "./agent/sampling", "./agent/identity", "./agent/checkpoint"},
		reason: "the types that everyone speaks must not drag in any one of them",
	},
	{
		from:   []string{"exporter"},
		never:  []string{"./agent/sampling", "./agent/identity", "./agent/checkpoint", "./bpf", "./cmd"},
		reason: "what leaves the node is made from the snapshot alone, so that a scrape can neither wait for nor disturb a sweep",
	},
	{
		from:   []string{"agent/sampling", "agent/identity", "agent/checkpoint", "agent/procfs"},
		never:  []string{"./exporter", "./cmd"},
		reason: "what computes must not know how it is shown",
	},
	{
		from:   []string{"agent/lifecycle", "agent/version"},
		never:  []string{"./"},
		reason: "they serve every package and therefore know none",
	},
	{
		from:   []string{"agent/config"},
		never:  []string{"./"},
		reason: "the settings are plain values; whoever uses them translates them",
	},
	{
		from:   []string{"agent/doctor"},
		never:  []string{"./exporter", "./agent/config", "./agent/sampling", "./cmd", "net/http", "k8s.io"},
		reason: "the doctor must work where the agent does not",
	},
	{
		but:      []string{"agent/identity", "exporter", "cmd/slicewatch/cluster"},
		never:    []string{"k8s.io"},
		save:     []string{vpaArithmetic},
		directly: true,
		reason:   "only identity watches pods and only the exporter asks who may read; the rest must run with the API server down",
	},
	{
		from:   []string{"agent", "cgroupfs", "bpf"},
		never:  []string{"./exporter/client", "./cmd", "k8s.io/api/autoscaling", "k8s.io/client-go/kubernetes/typed/autoscaling", vpaModule},
		save:   []string{vpaArithmetic},
		reason: "the agent reads pods and nothing else of the API; quotas and autoscalers are read by a user with the user's rights",
	},
	{
		from:     []string{"exporter"},
		but:      []string{"exporter/client/conflicts"},
		never:    []string{"k8s.io/api/autoscaling", "k8s.io/client-go/kubernetes/typed/autoscaling", vpaModule},
		directly: true,
		reason:   "what else sets requests and limits is held against hints in one place",
	},
	{
		from:     []string{"exporter/client/conflicts"},
		never:    []string{"net", "os", "k8s.io/client-go", vpaModule + "/pkg/client"},
		directly: true,
		reason:   "its rules are pure: objects in, amounts and reasons out",
	},
	{
		but:      []string{"agent/identity"},
		never:    []string{"github.com/containerd"},
		directly: true,
		reason:   "the runtime's socket is root on the node: one place talks to it",
	},
	{
		but:      []string{"bpf"},
		never:    []string{"github.com/cilium/ebpf"},
		directly: true,
		reason:   "loading programs into the kernel has one owner, who knows what each kernel takes",
	},
	{
		but:      []string{"cmd", "agent/config"},
		never:    []string{"github.com/alecthomas/kingpin/v2", "flag"},
		directly: true,
		reason:   "settings come from agent/config alone, whose rules hold for flags, environment and file alike",
	},
	{
		never:    []string{"os/exec"},
		directly: true,
		reason:   "the agent starts no programs: it runs with an empty root file system and few rights",
	},
	{
		never:    []string{"testing", "./test", "./cgroupfs/fixturetree", "github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak"},
		directly: true,
		reason:   "test code must not be shipped",
	},
}

func TestImports(t *testing.T) {
	product := make(map[string][]string) // directory -> imports of its files
	for _, file := range sources(t) {
		if file.isProduct() {
			product[file.dir] = append(product[file.dir], file.imports()...)
		}
	}
	for _, b := range bans {
		for dir := range product {
			if len(b.from) > 0 && !withinAny(dir, b.from) || withinAny(dir, b.but) {
				continue
			}
			for path, via := range reached(product, dir, b.directly) {
				if forbidden := b.match(path, dir); forbidden {
					t.Errorf("%s must not import %s (it does through %s): %s", dir, path, via, b.reason)
				}
			}
		}
	}
}

// match says whether a package in dir may not import path.
func (b ban) match(path, dir string) bool {
	if slices.Contains(b.save, path) {
		return false
	}
	own, isOwn := strings.CutPrefix(path, module+"/")
	return slices.ContainsFunc(b.never, func(never string) bool {
		below, isDir := strings.CutPrefix(never, "./")
		switch {
		case !isDir:
			return within(path, never)
		case below == "":
			// Everything of this repository but what belongs to the package.
			return isOwn && !within(own, dir)
		}
		return isOwn && within(own, below)
	})
}

// reached maps every import path that the package in dir reaches to the
// directory that imports it.
func reached(product map[string][]string, dir string, directly bool) map[string]string {
	paths := make(map[string]string)
	queue, seen := []string{dir}, map[string]bool{dir: true}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, path := range product[at] {
			if _, ok := paths[path]; !ok {
				paths[path] = at
			}
			own, isOwn := strings.CutPrefix(path, module+"/")
			if isOwn && !directly && !seen[own] {
				seen[own] = true
				queue = append(queue, own)
			}
		}
	}
	return paths
}

// A ban that cannot find its violation would hold nothing.
func TestImportsFindsViolations(t *testing.T) {
	product := map[string][]string{
		"a":   {module + "/b"},
		"b":   {"net/http", "k8s.io/api/core/v1"},
		"b/c": {module + "/a"},
	}
	tests := map[string]struct {
		ban  ban
		dir  string
		want bool
	}{
		"direct":              {ban{never: []string{"net/http"}}, "b", true},
		"through another":     {ban{never: []string{"k8s.io"}}, "a", true},
		"only directly":       {ban{never: []string{"k8s.io"}, directly: true}, "a", false},
		"saved":               {ban{never: []string{"k8s.io"}, save: []string{"k8s.io/api/core/v1"}}, "b", false},
		"prefix is no parent": {ban{never: []string{"k8s.io/api/co"}}, "b", false},
		"own directory":       {ban{never: []string{"./a"}}, "b/c", true},
		"any of ours":         {ban{never: []string{"./"}}, "b/c", true},
		"none of ours":        {ban{never: []string{"./"}}, "b", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := false
			for path := range reached(product, test.dir, test.ban.directly) {
				got = got || test.ban.match(path, test.dir)
			}
			if got != test.want {
				t.Errorf("found a violation: %t, want %t", got, test.want)
			}
		})
	}
}
