// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/vm"
)

const (
	module     = "github.com/slicewatch/slicewatch"
	guestPort  = 9779
	cgroupRoot = "/sys/fs/cgroup"
	kubepods   = cgroupRoot + "/kubepods.slice"
)

// pod is what command tree says of a pod.
type pod struct {
	Name, UID, Path, Sandbox string
	Containers               []string
}

// guest is a machine with pods and the agent.
type guest struct {
	machine *vm.Machine
	pods    []pod
	agent   string // host:port
}

// buildPrograms cross-builds what runs in the machine: path there -> here.
func buildPrograms(t *testing.T, packages map[string]string) map[string]string {
	t.Helper()
	dir, files := t.TempDir(), map[string]string{}
	for name, pkg := range packages {
		files["/bin/"+name] = filepath.Join(dir, name)
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", files["/bin/"+name], module+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	return files
}

// boot starts a machine that has the agent and the program pods.
func boot(t *testing.T, memoryMiB int, pods, pkg string) *guest {
	t.Helper()
	machine, err := vm.Start(t.Context(), vm.Config{
		Arch: "arm64", Suite: "trixie", MemoryMiB: memoryMiB, Files: buildPrograms(t, map[string]string{"slicewatch": "/cmd/slicewatch", pods: pkg}),
		Forwards: []vm.Forward{{GuestPort: guestPort}}, Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("Linux %s booted in %v", machine.Kernel().Release, machine.BootTime().Round(time.Second/10))
	return &guest{machine: machine, agent: fmt.Sprintf("127.0.0.1:%d", machine.HostPort(guestPort))}
}

// startAgent returns when the agent has swept once.
func (g *guest) startAgent(t *testing.T, args ...string) {
	t.Helper()
	g.start(t, "slicewatch", append([]string{
		"agent", "--containerd=off", "--path.state=/tmp/state", fmt.Sprintf("--web.listen-address=:%d", guestPort),
	}, args...)...)
	await(t, "the agent's first sweep", func() bool {
		response, err := http.Get("http://" + g.agent + "/-/ready")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
}

// startGuest boots the machine and returns when all pods run and the agent is
// ready.
func startGuest(t *testing.T) *guest {
	t.Helper()
	g := boot(t, 1024, "tree", "/test/prometheus/tree")
	tree := g.start(t, "tree")
	await(t, "the pods to run", func() bool { return strings.Contains(tree.String(), "]\n") })
	if err := json.Unmarshal([]byte(tree.String()), &g.pods); err != nil {
		t.Fatalf("command tree: %v\n%s", err, tree.String())
	}
	g.startAgent(t, "--kubernetes=off", "--node.name=test")
	return g
}

// start runs a program in the machine until the test ends. That it ends before
// fails the test.
func (g *guest) start(t *testing.T, name string, args ...string) *output {
	t.Helper()
	out := &output{}
	process, err := g.machine.Start(t.Context(), vm.Command{Path: name, Args: args, MergeOutput: true}, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out)
		}
	})
	go func() {
		code, err := process.Wait()
		if t.Context().Err() == nil {
			t.Errorf("%s ended with code %d, %v", name, code, err)
		}
	}()
	return out
}

// output keeps what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// reading is what the files of every cgroup below kubepods said, by the cgroup's
// path from the root.
type reading map[string]truth.Cgroup

func (g *guest) read(t *testing.T) reading {
	t.Helper()
	r := reading{}
	for _, p := range g.pods {
		for _, dir := range append([]string{p.Path, p.Sandbox}, p.Containers...) {
			id := strings.TrimPrefix(dir, cgroupRoot)
			r[id] = truth.Cgroup{}
			for _, name := range []string{"cpu.stat", "cpu.max", "memory.current", "memory.stat", "memory.max"} {
				text, err := g.machine.ReadFile(t.Context(), dir+"/"+name)
				if err != nil {
					t.Fatal(err)
				}
				r[id][name] = truth.Parse(name, string(text))
			}
		}
	}
	return r
}

// awaitMemory waits until the container of a pod has taken its memory.
func (g *guest) awaitMemory(t *testing.T, name string, bytes float64) {
	t.Helper()
	dir := g.pod(t, name).Containers[0]
	await(t, "pod "+name+" to have its memory", func() bool {
		text, err := g.machine.ReadFile(t.Context(), dir+"/memory.current")
		if err != nil {
			t.Fatal(err)
		}
		c := truth.Cgroup{"memory.current": truth.Parse("memory.current", string(text))}
		return number(t, c, "memory.current", "") >= bytes
	})
}

// freeze stops every process of the pods and returns what the files say when
// they stand still.
func (g *guest) freeze(t *testing.T) reading {
	t.Helper()
	g.write(t, kubepods+"/cgroup.freeze", "1")
	before := g.read(t)
	for range 20 {
		time.Sleep(3 * time.Second)
		after := g.read(t)
		if maps.EqualFunc(before, after, func(a, b truth.Cgroup) bool { return reflect.DeepEqual(a, b) }) {
			return after
		}
		before = after
	}
	t.Fatal("the frozen pods' files do not stand still")
	return nil
}

func (g *guest) thaw(t *testing.T) {
	t.Helper()
	g.write(t, kubepods+"/cgroup.freeze", "0")
}

func (g *guest) write(t *testing.T, path, text string) {
	t.Helper()
	if err := g.machine.WriteFile(t.Context(), path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sweeps waits until the agent has published two sweeps more, of which the
// second began after this was called.
func (g *guest) sweeps(t *testing.T) {
	t.Helper()
	for range 2 {
		before := g.agentSays(t, "slicewatch_snapshot_timestamp_seconds")
		await(t, "the agent's next sweep", func() bool { return g.agentSays(t, "slicewatch_snapshot_timestamp_seconds") != before })
	}
}

// agentSays returns a series of the agent's as it is written.
func (g *guest) agentSays(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(get(t, "http://"+g.agent+"/metrics")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("the agent does not export %s", series)
	return ""
}
