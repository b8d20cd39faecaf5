// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const mi = int64(1) << 20

// Role is one pod of the cluster and what it plays.
type Role struct {
	Pod kubetree.PodSpec
	// Plays says in a few words what the pod is and what troubles it.
	Plays string
}

// uid returns the UID that starts with word, which must be hexadecimal: with no
// Kubernetes there are no names, so UIDs are to be recognised.
func uid(word string, n int) string {
	return fmt.Sprintf("%s%s-0000-4000-8000-%012d", word, strings.Repeat("0", 8-len(word)), n)
}

// Roles returns the pods that stay. Those that come and go are Visitor's.
func Roles() []Role {
	var roles []Role
	add := func(word, name, plays string, r kubetree.Resources, line string, change ...func(*kubetree.ContainerSpec)) {
		c := kubetree.ContainerSpec{Name: name, Resources: r, Work: work.Cmd(line)}
		for _, f := range change {
			f(&c)
		}
		roles = append(roles, Role{
			Pod:   kubetree.PodSpec{Name: name, UID: uid(word, len(roles)+1), Containers: []kubetree.ContainerSpec{c}},
			Plays: plays,
		})
	}
	res := func(cpuRequest, cpuLimit, memoryRequest, memoryLimit int64) kubetree.Resources {
		return kubetree.Resources{
			CPURequestMilli: cpuRequest, CPULimitMilli: cpuLimit,
			MemoryRequestBytes: memoryRequest * mi, MemoryLimitBytes: memoryLimit * mi,
		}
	}
	alone := func(c *kubetree.ContainerSpec) { c.SingleProcessOOMKill = true }

	// Where the memory request is the limit, MemoryQoS sets no memory.high: what
	// is to be killed would else be held at nine tenths of its limit for minutes.
	add("db", "mongodb", "MongoDB, guaranteed, all is well", res(500, 500, 192, 192), "hold bytes=140Mi duty=0.05 comm=mongod")
	add("cac4e", "redis", "Redis, a cache, all is well", res(50, 0, 32, 96), "hold bytes=28Mi duty=0.02 comm=redis-server")
	add("a91", "api", "API server: throttled at each burst, though its average is under its limit", res(100, 200, 32, 128), "burst threads=4 work=12ms period=400ms comm=node")
	add("facade", "console", "web console, all is well", res(20, 0, 16, 64), "hold bytes=10Mi duty=0.01 comm=nginx")
	add("fa7", "exporter", "exporter that reserves 500m and 256Mi and uses next to nothing", res(500, 0, 256, 256), "hold bytes=4Mi duty=0.01 comm=exporter")
	add("4e1d", "worker", "worker held (stalled) by memory.high again and again", res(20, 0, 4, 44), "over bytes=40Mi step=1Mi pause=4s comm=worker")
	add("ed9e", "search", "search index at about 95 % of its memory limit", res(20, 0, 64, 64), "hold bytes=57Mi comm=search")
	add("dead", "leaky", "leaks until it is OOM killed, every half a minute", res(20, 0, 48, 48), "grow from=4Mi step=1Mi every=650ms comm=leaky")
	add("c411d", "shell", "lives on while its child is OOM killed, every 45 s", res(20, 0, 40, 40), "child step=1Mi every=100ms pause=40s comm=sh", alone)
	add("ba7c4", "batch", "batch job: 300 ms of CPU, gone, and again", res(20, 0, 8, 32), "spin cpu=300ms comm=batch")
	add("1d1e", "idle", "best effort, does nothing", res(0, 0, 0, 0), "idle comm=sleep")
	return roles
}

// VisitorWord is how the UIDs of the pods that come and go start.
const VisitorWord = "be57eff0"

// Visitor returns the n-th best effort pod that comes and goes.
func Visitor(n int) kubetree.PodSpec {
	return kubetree.PodSpec{
		Name: fmt.Sprintf("user-%d", n), UID: uid(VisitorWord, n),
		Restart:    kubetree.RestartNever,
		Containers: []kubetree.ContainerSpec{{Name: "job", Work: work.Cmd("hold bytes=6Mi duty=0.05 comm=job")}},
	}
}

// How often visitors come, how long they stay, and how long a container that
// ended waits for its restart: longer than a real kubelet at first and shorter
// later, so that there is always something to see.
const (
	VisitorEvery = 12 * time.Second
	VisitorLife  = 30 * time.Second
	BackOff      = 8 * time.Second
)

// Spec is the node that the cluster is made on.
func Spec() kubetree.Spec { return kubetree.Spec{Seed: 1, MemoryQoS: true} }

// Legend is a table of all UIDs and what the pods play.
func Legend() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	// A builder does not fail.
	fmt.Fprintln(w, "POD UID\tNAME\tWHAT IT PLAYS")
	for _, r := range Roles() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Pod.UID, r.Pod.Name, r.Plays)
	}
	fmt.Fprintf(w, "%s-...\tuser-<n>\tusers' pods, best effort, that come and go\n", VisitorWord)
	_ = w.Flush()
	return b.String()
}
