// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestRealContainerd runs against the containerd in PATH, or the one that
// SLICEWATCH_TEST_CONTAINERD names: containers are metadata to it until they
// are started, which needs neither cgroups nor a runtime.
func TestRealContainerd(t *testing.T) {
	binary := os.Getenv("SLICEWATCH_TEST_CONTAINERD")
	if binary == "" {
		found, err := exec.LookPath("containerd")
		if err != nil {
			t.Skip("no containerd in PATH and SLICEWATCH_TEST_CONTAINERD is not set")
		}
		binary = found
	}
	if os.Geteuid() != 0 {
		t.Skip("containerd needs root")
	}
	version, err := exec.Command(binary, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", version)

	socket := socketPath(t)
	config := containerdConfig(t, socket)
	_, r := follow(t, socket, "before")
	r.waitReason(t, "there is no socket")

	stop := runContainerd(t, binary, config)
	r.waitUp(t)
	client, err := containerd.New(socket, containerd.WithDefaultNamespace(criNamespace))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	create(t, client, "created", kindContainer)
	r.wait(t, "a container that is created", func() bool { return r.containers["created"].Pod == "web-0" })
	create(t, client, "pause", kindSandbox)
	r.wait(t, "a sandbox", func() bool { return r.containers["pause"].Sandbox })
	if err := client.ContainerService().Delete(t.Context(), "created"); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "a container that is deleted", func() bool { _, there := r.containers["created"]; return !there })
	create(t, client, "before", kindContainer)
	r.wait(t, "a container before the restart", func() bool { return r.containers["before"].Name == "main" })

	stop()
	r.waitReason(t, socket)
	r.DeleteContainer("before")
	runContainerd(t, binary, config)
	r.waitUp(t)
	r.wait(t, "the wanted container after the restart", func() bool { return r.containers["before"].Name == "main" })
	create(t, client, "after", kindContainer)
	r.wait(t, "a container after the restart", func() bool { return r.containers["after"].Name == "main" })
}

func create(t *testing.T, client *containerd.Client, id, kind string) {
	t.Helper()
	c := labelled(id, kind, "main")
	_, err := client.ContainerService().Create(context.Background(), containers.Container{
		ID: id, Labels: c.Labels, Image: c.Image,
		Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2"},
		Spec:    &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte("{}")},
	})
	if err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
}

func containerdConfig(t *testing.T, socket string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runContainerd returns what kills it, which the end of the test also does.
func runContainerd(t *testing.T, binary, config string) (stop func()) {
	t.Helper()
	var log bytes.Buffer
	command := exec.Command(binary, "--config", config)
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := command.Process.Kill(); err != nil {
			t.Errorf("kill containerd: %v", err)
		}
		command.Wait()
		if t.Failed() {
			t.Logf("containerd's log:\n%s", log.String())
		}
	}
	t.Cleanup(stop)
	return stop
}
